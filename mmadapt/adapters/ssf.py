r"""SSF: scale and shift the output of a layer (Lian et al., https://arxiv.org/abs/2210.08823).

.. math:: y' = \gamma \odot y + \beta, \quad\text{so}\quad W' = \gamma W,\; b' = \gamma b + \beta

A norm's affine parameters are its weight and bias. Both start at the exact identity (1, 0). Where a
norm follows a convolution the two belong behind it: before a norm in training they would have
almost no gradient. A layer without a bias has no place for a shift and gets a scale alone; one that
standardizes its weight undoes a scale of it and gets a shift alone.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from .affine import scale_rows
from .method import ATTENTION_PARTS, AdapterMethod
from .registry import ADAPTERS


@ADAPTERS.register_module()
class SSF(AdapterMethod):
    """Scaling and shifting of features.

    Args:
        attention (Sequence[str]): Which projections of a ``MultiheadAttention`` are adapted.
    """

    tensor_names = ('ssf_scale', 'ssf_shift')
    row_scales = ('ssf_scale',)
    adapts_norms = True
    reads_weight = False

    def __init__(self, attention: Sequence[str] = ATTENTION_PARTS) -> None:
        super().__init__(attention)

    def create(self, weight: Tensor, bias: Tensor | None) -> dict[str, Tensor]:
        """Return ``ssf_scale`` (1) and, where there is a bias, ``ssf_shift`` (0), ``(out, )``."""
        channels = weight.shape[:1]
        tensors: dict[str, Tensor] = dict(
            ssf_scale=nn.Parameter(weight.new_ones(channels, dtype=torch.float32))
        )
        if bias is not None:
            tensors['ssf_shift'] = nn.Parameter(bias.new_zeros(channels, dtype=torch.float32))
        return tensors

    def adapt(
        self, weight: Tensor, bias: Tensor | None, tensors: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """Return the scaled weight and the scaled and shifted bias."""
        scale = tensors.get('ssf_scale')
        weight = weight if scale is None else scale_rows(weight, scale)
        return weight, self.adapt_bias(bias, tensors)

    def gain(self, weight: Tensor, tensors: Mapping[str, Tensor]) -> Tensor | None:
        """Return the scale."""
        return tensors.get('ssf_scale')

    def adapt_bias(self, bias: Tensor | None, tensors: Mapping[str, Tensor]) -> Tensor | None:
        """Return the scaled and shifted bias."""
        if bias is None:
            return None
        scale, shift = tensors.get('ssf_scale'), tensors.get('ssf_shift')
        if shift is None:
            return bias if scale is None else (bias * scale).to(bias.dtype)
        if scale is None:
            return (bias + shift).to(bias.dtype)
        return torch.addcmul(shift, bias, scale).to(bias.dtype)

    def arguments(self) -> dict:
        """Return the constructor's arguments."""
        return dict(attention=list(self.attention))
