r"""DoRA: the direction and the length of each row apart (Liu et al., arXiv 2402.09353).

.. math:: W' = m \frac{V}{\|V\|}, \qquad V = W + s B A

with one magnitude :math:`m` for each output channel, which starts at :math:`\|W\|`. The norm is a
constant for the gradient (section 4.3), and that of the weight without dropout. Where a layer
standardizes its rows their length is undone again: it has no magnitude.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from .affine import Affine, move_into_bias, scale_rows
from .lora import MASK, LoRA
from .registry import ADAPTERS


@ADAPTERS.register_module()
class DoRA(LoRA):
    """Weight-decomposed low-rank adaptation; the arguments are those of :class:`LoRA`."""

    tensor_names = (*LoRA.tensor_names, 'magnitude')
    row_scales = ('magnitude',)
    reads_weight = True

    def create(self, weight: Tensor, bias: Tensor | None) -> dict[str, Tensor]:
        """Return LoRA's tensors and ``magnitude``, the norms ``(out, )`` of the weight's rows."""
        magnitude = nn.Parameter(weight.new_empty(weight.shape[:1], dtype=torch.float32))
        tensors = dict(super().create(weight, bias), magnitude=magnitude)
        with torch.no_grad():
            self.initialize(weight, bias, tensors)
        return tensors

    def initialize(
        self, weight: Tensor, bias: Tensor | None, tensors: Mapping[str, Tensor]
    ) -> None:
        """Set the magnitude to the norms of the weight's rows."""
        super().initialize(weight, bias, tensors)
        if 'magnitude' in tensors:
            tensors['magnitude'].copy_(_norms(weight))

    def adapt(
        self, weight: Tensor, bias: Tensor | None, tensors: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """Return ``m V / |V|`` and the bias."""
        direction, bias = super().adapt(weight, bias, tensors)
        if 'magnitude' not in tensors:
            return direction, bias
        return scale_rows(direction, self._gain_of(direction, weight, tensors)), bias

    def adapt_scaled(
        self, weight: Tensor, bias: Tensor | None, tensors: Mapping[str, Tensor], affine: Affine
    ) -> tuple[Tensor, Tensor]:
        """Scale the weight once, by the product of both factors."""
        direction, bias = super().adapt(weight, bias, tensors)
        gain = self._gain_of(direction, weight, tensors)
        weight = scale_rows(direction, gain * affine[0])
        return weight, move_into_bias(bias, affine).to(weight.dtype)

    def gain(self, weight: Tensor, tensors: Mapping[str, Tensor]) -> Tensor | None:
        """Return ``m / |V|`` without forming ``V``.

        The square of the norm is ``|W|^2 + 2 <W A', s B> + <s B (A A'), s B>``, row by row.
        """
        if 'magnitude' not in tensors:
            return None
        return _gain(tensors['magnitude'], self._norms_by_factors(weight, tensors))

    def _norms_by_factors(self, weight: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
        whole = {name: tensor for name, tensor in tensors.items() if name != MASK}
        down, up = (t.detach().float() for t in self.low_rank(whole))
        down, matrix = down.flatten(1), weight.detach().flatten(1).float()
        with torch.autocast(weight.device.type, enabled=False):
            square = matrix.square().sum(1)
            square = square + ((2 * (matrix @ down.T) + up @ (down @ down.T)) * up).sum(1)
        return square.clamp_min(0).sqrt()

    def _gain_of(self, direction: Tensor, weight: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
        if MASK in tensors:
            return _gain(tensors['magnitude'], self._norms_by_factors(weight, tensors))
        # V has been formed anyway: its norm costs one pass over it, less than the factors would.
        return _gain(tensors['magnitude'], _norms(direction))


def _norms(weight: Tensor) -> Tensor:
    dtype = torch.promote_types(weight.dtype, torch.float32)
    return torch.linalg.vector_norm(weight.detach().flatten(1), dim=1, dtype=dtype)


def _gain(magnitude: Tensor, norm: Tensor) -> Tensor:
    # A row of zeros has no direction: it stays zero, whatever its magnitude, instead of being NaN.
    return magnitude / norm.masked_fill(norm == 0, torch.inf)
