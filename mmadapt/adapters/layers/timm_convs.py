"""Adapted weight-standardized convolutions of timm: the adapted weight is standardized."""

import torch.nn.functional as F
from timm.layers import ScaledStdConv2d, ScaledStdConv2dSame, StdConv2d, StdConv2dSame
from timm.layers.padding import pad_same
from torch import Tensor

from .conv import ConvLayer
from .weight import WeightLayer


class StdConvLayer(ConvLayer):
    """How an adapted standardized convolution computes."""

    standardizes = True
    eps: float
    gain: Tensor
    scale: float
    method_options = WeightLayer.method_options
    branch = WeightLayer.branch

    def run(self, x: Tensor, *, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Map ``(batch, in, height, width)`` to ``(batch, out, height', width')``."""
        if getattr(self, 'same_pad', False):
            x = pad_same(x, self.kernel_size, self.stride, self.dilation)
        return super().run(x, weight=weight, bias=bias)

    def transform(self, weight: Tensor) -> Tensor:
        """Standardize the rows of the weight, and scale them by a learned gain if there is one."""
        gain = (self.gain * self.scale).view(-1) if hasattr(self, 'gain') else None
        rows = weight.reshape(1, self.out_channels, -1)
        return F.batch_norm(
            rows, None, None, weight=gain, training=True, momentum=0.0, eps=self.eps
        ).reshape_as(weight)


class AdaptedStdConv2d(StdConvLayer, StdConv2d):
    """An adapted StdConv2d."""

    stock_class = StdConv2d


class AdaptedStdConv2dSame(StdConvLayer, StdConv2dSame):
    """An adapted StdConv2dSame."""

    stock_class = StdConv2dSame


class AdaptedScaledStdConv2d(StdConvLayer, ScaledStdConv2d):
    """An adapted ScaledStdConv2d."""

    stock_class = ScaledStdConv2d


class AdaptedScaledStdConv2dSame(StdConvLayer, ScaledStdConv2dSame):
    """An adapted ScaledStdConv2dSame."""

    stock_class = ScaledStdConv2dSame


CLASSES = (
    AdaptedStdConv2d,
    AdaptedStdConv2dSame,
    AdaptedScaledStdConv2d,
    AdaptedScaledStdConv2dSame,
)
