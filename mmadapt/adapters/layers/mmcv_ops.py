"""Adapted deformable convolutions of ``mmcv.ops``, modulated or not.

Their offsets come from the input as it is: dropout is for what the adapter adds alone.
"""

from collections.abc import Callable

import torch
from mmcv.ops import (
    DeformConv2d,
    DeformConv2dPack,
    ModulatedDeformConv2d,
    ModulatedDeformConv2dPack,
)
from torch import Tensor

from ..layer import StockView
from .weight import WeightLayer


class DeformConvLayer(WeightLayer):
    """How an adapted deformable convolution computes."""

    foldable = True
    conv_offset: Callable[[Tensor], Tensor]

    def forward(self, x: Tensor, offset: Tensor) -> Tensor:
        """Map ``(batch, in, height, width)`` to ``(batch, out, height', width')``."""
        return super().forward(x, offset)

    def run(self, x: Tensor, offset: Tensor, *, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Map ``(batch, in, height, width)`` to ``(batch, out, height', width')``."""
        output = DeformConv2d.forward(StockView(self, dict(weight=weight)), x, offset)
        return output if bias is None else output + bias.view(-1, 1, 1)


class ModulatedDeformConvLayer(WeightLayer):
    """How an adapted modulated deformable convolution computes."""

    foldable = True
    conv_offset: Callable[[Tensor], Tensor]

    def forward(self, x: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
        """Map ``(batch, in, height, width)`` to ``(batch, out, height', width')``."""
        return super().forward(x, offset, mask)

    def run(
        self, x: Tensor, offset: Tensor, mask: Tensor, *, weight: Tensor, bias: Tensor | None
    ) -> Tensor:
        """Map ``(batch, in, height, width)`` to ``(batch, out, height', width')``."""
        view = StockView(self, dict(weight=weight, bias=bias))
        return ModulatedDeformConv2d.forward(view, x, offset, mask)


class AdaptedDeformConv2d(DeformConvLayer, DeformConv2d):
    """An adapted DeformConv2d."""

    stock_class = DeformConv2d


class AdaptedModulatedDeformConv2d(ModulatedDeformConvLayer, ModulatedDeformConv2d):
    """An adapted ModulatedDeformConv2d."""

    stock_class = ModulatedDeformConv2d


class AdaptedDeformConv2dPack(DeformConvLayer, DeformConv2dPack):
    """An adapted DeformConv2dPack (``DCN``)."""

    stock_class = DeformConv2dPack
    forward = WeightLayer.forward  # type: ignore[assignment]  # it finds its offsets itself

    def compute(self, x: Tensor, **kwargs) -> Tensor:
        """Map ``(batch, in, height, width)`` to ``(batch, out, height', width')``."""
        return super().compute(x, self.conv_offset(x), **kwargs)


class AdaptedModulatedDeformConv2dPack(ModulatedDeformConvLayer, ModulatedDeformConv2dPack):
    """An adapted ModulatedDeformConv2dPack (``DCNv2``)."""

    stock_class = ModulatedDeformConv2dPack
    forward = WeightLayer.forward  # type: ignore[assignment]  # it finds its offsets itself

    def compute(self, x: Tensor, **kwargs) -> Tensor:
        """Map ``(batch, in, height, width)`` to ``(batch, out, height', width')``."""
        vertical, horizontal, mask = self.conv_offset(x).chunk(3, dim=1)
        offset = torch.cat([vertical, horizontal], dim=1)
        return super().compute(x, offset, mask.sigmoid(), **kwargs)


CLASSES = (
    AdaptedDeformConv2d,
    AdaptedModulatedDeformConv2d,
    AdaptedDeformConv2dPack,
    AdaptedModulatedDeformConv2dPack,
)
