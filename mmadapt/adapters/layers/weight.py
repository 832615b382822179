"""Layers of one weight and at most one bias, whose output is computed from one input.

Two ways to compute the same:

* *merged*: one call of the layer with the adapted weight. No activation is kept beside the layer's
  own, and it serves layers of every kind.
* *factored*: the layer's own output and what the low-rank factors add to it. Dropout on the input
  of what is added can only be computed apart, and a wide Linear with many tokens is cheaper so: its
  full weight gradient is never formed.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from ..affine import Affine, move_affine, scale_rows
from ..as_one import as_one
from ..layer import AdapterLayer


class WeightLayer(AdapterLayer):
    """What adapted layers of one weight share.

    Attributes:
        foldable (bool): Whether an affine map of the output's channels can be moved into weight and
            bias.
        behind (Callable, optional): Returns the affine map that follows the layer, which it gets,
            where it is to apply that too; None otherwise.
    """

    method_options = frozenset({'dropout'})
    foldable = False
    weight: Tensor
    behind: Callable[[nn.Module], Affine | None] | None = None

    def run(self, x: Tensor, *inputs, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Compute what the stock layer computes, with another weight and bias."""
        raise NotImplementedError

    def branch(self, x: Tensor, *inputs, down: Tensor, up: Tensor) -> Tensor | None:
        """Compute what the low-rank factors add to the output; None if it has no such form."""
        return None

    def branch_behind_dropout(
        self, x: Tensor, probability: float, *inputs, down: Tensor, up: Tensor
    ) -> Tensor | None:
        """Compute :meth:`branch` of an input some of whose elements are dropped."""
        return self.branch(F.dropout(x, probability), *inputs, down=down, up=up)

    def canonical(self, weight: Tensor) -> Tensor:
        """Turn a weight of the layer to ``(out, in / groups, *kernel)``."""
        return weight

    def stock_layout(self, weight: Tensor) -> Tensor:
        """Undo :meth:`canonical`."""
        return weight

    def transform(self, weight: Tensor) -> Tensor:
        """Return the weight that the output is linear in, by a canonical one.

        Only where :attr:`standardizes` says so is it more than the identity.
        """
        return weight

    def is_factored(self, x: Tensor) -> bool:
        """Return whether the factored way is the better one for this input."""
        return False

    def weight_parts(self) -> dict[str, tuple[Tensor, Tensor | None]]:
        """Return the one weight and its bias."""
        return {'': (self.canonical(self.weight), getattr(self, 'bias', None))}

    def merged_tensors(self) -> dict[str, Tensor]:
        """Return the weight and bias of the stock layer that computes the same."""
        weight, bias = self.adapted('', *self.weight_parts()[''])
        weight = self.stock_layout(weight)
        return dict(weight=weight) if bias is None else dict(weight=weight, bias=bias)

    def forward(self, x: Tensor, *inputs) -> Tensor:
        """Compute what the stock layer computes, with the adapted weight."""
        affine = None if self.behind is None else self.behind(self)
        if affine is None:
            return self.compute(x, *inputs)
        return self.compute(x, *inputs, affine=affine)

    def compute(self, x: Tensor, *inputs, affine: Affine | None = None) -> Tensor:
        """Compute the output.

        Args:
            x (Tensor): The input.
            inputs: What else the stock layer's forward takes.
            affine (tuple[Tensor, Tensor], optional): Factor and shift ``(out, )`` of a map of the
                output's channels, which is moved into weight and bias.

        Returns:
            Tensor: The output.
        """
        if self.drops_elements:
            return self._compute_with_dropout(x, *inputs, affine=affine)
        if affine is None and self.is_factored(x):
            return self._compute_factored(x, *inputs)
        pair, tensors = self.weight_parts()[''], self.step_tensors()
        if affine is None or self.standardizes:
            pair = as_one(self.adapter.adapt, *pair, tensors)
            return self._run(x, *inputs, pair=pair, affine=affine)
        weight, bias = as_one(self.adapter.adapt_scaled, *pair, tensors, affine)
        return self.run(x, *inputs, weight=self.stock_layout(weight), bias=bias)

    def _run(
        self, x: Tensor, *inputs, pair: tuple[Tensor, Tensor | None], affine: Affine | None
    ) -> Tensor:
        weight, bias = self.transform(pair[0]), pair[1]
        if affine is not None:
            weight, bias = as_one(move_affine, weight, bias, affine)
        return self.run(x, *inputs, weight=self.stock_layout(weight), bias=bias)

    def _compute_with_dropout(self, x: Tensor, *inputs, affine: Affine | None) -> Tensor:
        tensors, (weight, bias) = self.adapter_tensors(), self.weight_parts()['']
        probability, added = self.adapter.dropout, None
        factors = self.adapter.low_rank(tensors)
        if (
            factors is not None
            and not self.standardizes
            and self.adapter.gain(weight, tensors) is None
        ):
            down, up = factors
            up = up if affine is None else scale_rows(up, affine[0])
            added = self.branch_behind_dropout(
                x, probability, *inputs, down=down.to(weight.dtype), up=up.to(weight.dtype)
            )
        if added is None:
            change = self.transform(self.adapted('', weight, bias)[0]) - self.transform(weight)
            change = change if affine is None else scale_rows(change, affine[0])
            dropped = F.dropout(x, probability)
            added = self.run(dropped, *inputs, weight=self.stock_layout(change), bias=None)
        pair = weight, self.adapter.adapt_bias(bias, tensors)
        return self._run(x, *inputs, pair=pair, affine=affine) + added

    def _compute_factored(self, x: Tensor, *inputs) -> Tensor:
        tensors, (weight, bias) = self.step_tensors(), self.weight_parts()['']
        gain, factors = self.adapter.gain(weight, tensors), self.adapter.low_rank(tensors)
        bias = self.adapter.adapt_bias(bias, tensors)
        output = self.run(x, *inputs, weight=self.weight, bias=bias if gain is None else None)
        if factors is not None:
            down, up = (factor.to(weight.dtype) for factor in factors)
            added = self.branch(x, *inputs, down=down, up=up)
            assert added is not None  # what is factored has this form
            output = output + added
        if gain is None:
            return output
        # Rounded once, or half precision would swallow small changes of the gain.
        shape = (-1, *(1,) * (weight.dim() - 2))
        scaled = output * gain.view(shape)
        return (scaled if bias is None else scaled + bias.view(shape)).to(output.dtype)
