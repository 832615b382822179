r"""Adapted Linear layers whose frozen weight is quantized.

.. math:: y = g \odot (W_q x + s B A\, \mathrm{drop}(x)) + b

with the adapter's gain :math:`g` (DoRA, SSF). The quantized weight is never added to: it would have
to be dense for that. Merging makes it dense first.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from ..adapters import register_layer
from ..adapters.layers.linear import LinearLayer
from .bnb import Linear4bit, Linear8bit


class QuantizedLayer(LinearLayer):
    """How an adapted quantized Linear computes."""

    method_options = frozenset({'dropout'})
    bias: nn.Parameter
    dense_weight: Callable[[], Tensor]
    product: Callable[[Tensor], Tensor]

    def weight_parts(self) -> dict[str, tuple[Tensor, Tensor | None]]:
        """Return the weight, dense, and the bias."""
        return {'': (self.dense_weight(), self.bias)}

    def compute(self, x: Tensor) -> Tensor:
        """Map ``(..., in)`` to ``(..., out)``."""
        adapter, tensors = self.adapter, self.step_tensors()
        low_rank = adapter.low_rank(tensors)
        gain = adapter.gain(self.dense_weight() if adapter.reads_weight else self.weight, tensors)
        if low_rank is None and gain is None:  # it only knows what it makes of a whole weight
            weight, bias = adapter.adapt(*self.weight_parts()[''], tensors)
            return self.run(x, weight=weight, bias=bias)
        output = self.product(x)
        if low_rank is not None:
            down, up = (factor.to(x.dtype) for factor in low_rank)
            output = output + self._added(x, down, up)
        # Rounded once, or half precision would swallow small changes of the gain.
        scaled = output if gain is None else output * gain
        bias = adapter.adapt_bias(self.bias, tensors)
        return (scaled if bias is None else scaled + bias).to(output.dtype)

    def _added(self, x: Tensor, down: Tensor, up: Tensor) -> Tensor:
        p = self.adapter.dropout if self.drops_elements else 0.0
        if p and self.adapter.freeze_A:  # nothing else keeps the input, so noise is not kept either
            added = self.branch_behind_dropout(x, p, down=down, up=up)
            assert added is not None  # a Linear has this form
            return added
        return self.branch(F.dropout(x, p), down=down, up=up)


@register_layer
class AdaptedLinear4bit(QuantizedLayer, Linear4bit):
    """An adapted Linear in 4 bits."""

    stock_class = Linear4bit


@register_layer
class AdaptedLinear8bit(QuantizedLayer, Linear8bit):
    """An adapted Linear in 8 bits."""

    stock_class = Linear8bit
