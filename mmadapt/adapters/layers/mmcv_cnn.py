"""Adapted layers of ``mmcv.cnn``: its wrappers of torch's layers, and weight standardization."""

from collections.abc import Callable

import torch.nn.functional as F
from mmcv.cnn.bricks import wrappers
from mmcv.cnn.bricks.conv2d_adaptive_padding import Conv2dAdaptivePadding
from mmcv.cnn.bricks.conv_ws import ConvAWS2d, ConvWS2d
from torch import Tensor

from .conv import ConvLayer
from .linear import LinearLayer
from .transposed import TransposedConvLayer
from .weight import WeightLayer

# The wrappers differ from torch's layers only in how they treated empty inputs before torch 1.5,
# but DETR's heads are made of them, and `isinstance` must keep holding.


class AdaptedMMCVLinear(LinearLayer, wrappers.Linear):
    """An adapted Linear of mmcv."""

    stock_class = wrappers.Linear


class AdaptedMMCVConv2d(ConvLayer, wrappers.Conv2d):
    """An adapted Conv2d of mmcv."""

    stock_class = wrappers.Conv2d


class AdaptedMMCVConv3d(ConvLayer, wrappers.Conv3d):
    """An adapted Conv3d of mmcv."""

    stock_class = wrappers.Conv3d


class AdaptedMMCVConvTranspose2d(TransposedConvLayer, wrappers.ConvTranspose2d):
    """An adapted ConvTranspose2d of mmcv."""

    stock_class = wrappers.ConvTranspose2d


class AdaptedMMCVConvTranspose3d(TransposedConvLayer, wrappers.ConvTranspose3d):
    """An adapted ConvTranspose3d of mmcv."""

    stock_class = wrappers.ConvTranspose3d


class AdaptedConv2dAdaptivePadding(ConvLayer, Conv2dAdaptivePadding):
    """An adapted Conv2dAdaptivePadding, which pads so that its whole input is covered."""

    stock_class = Conv2dAdaptivePadding

    def run(self, x: Tensor, *, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Map ``(batch, in, height, width)``, padded, to ``(batch, out, height', width')``."""
        pads = []
        for size, kernel, stride, dilation in reversed(
            list(zip(x.shape[-2:], self.kernel_size, self.stride, self.dilation, strict=True))
        ):
            reach = (-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1
            missing = max(reach - size, 0)
            pads += [missing // 2, missing - missing // 2]
        return super().run(F.pad(x, pads), weight=weight, bias=bias)


class AdaptedConvWS2d(ConvLayer, ConvWS2d):
    """An adapted ConvWS2d: the adapted weight is what is standardized."""

    stock_class = ConvWS2d
    standardizes = True
    eps: float
    method_options = WeightLayer.method_options
    branch = WeightLayer.branch

    def transform(self, weight: Tensor) -> Tensor:
        """Standardize the rows of the weight."""
        rows, shape = weight.flatten(1), (-1, 1, 1, 1)
        # Not torch.std_mean, whose last bits are others than the stock layer's.
        return (weight - rows.mean(1).view(shape)) / (rows.std(1).view(shape) + self.eps)


class AdaptedConvAWS2d(ConvLayer, ConvAWS2d):
    """An adapted ConvAWS2d: the adapted weight is what is standardized."""

    stock_class = ConvAWS2d
    standardizes = True
    _get_weight: Callable[[Tensor], Tensor]
    method_options = WeightLayer.method_options
    branch = WeightLayer.branch

    def transform(self, weight: Tensor) -> Tensor:
        """Standardize the rows of the weight and give them their learned mean and spread."""
        return self._get_weight(weight)


CLASSES = (
    AdaptedMMCVLinear,
    AdaptedMMCVConv2d,
    AdaptedMMCVConv3d,
    AdaptedMMCVConvTranspose2d,
    AdaptedMMCVConvTranspose3d,
    AdaptedConv2dAdaptivePadding,
    AdaptedConvWS2d,
    AdaptedConvAWS2d,
)
