"""Adapted transposed convolutions.

Their weight is ``(in, out / groups, *kernel)``, the transpose of a convolution's; a method sees it
as ``(out, in / groups, *kernel)``.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from .conv import mix_channels
from .weight import WeightLayer

_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


class TransposedConvLayer(WeightLayer):
    """How an adapted transposed convolution computes."""

    method_options = frozenset({'dropout', 'compute'})
    foldable = True
    stride: tuple[int, ...]
    padding: Any  # numbers, as torch takes no name of a padding here
    dilation: tuple[int, ...]
    kernel_size: tuple[int, ...]
    groups: int
    _output_padding: Callable[..., list[int]]

    def forward(self, x: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """Map ``(batch, in, *size)`` to ``(batch, out, *output_size)``."""
        return super().forward(x, output_size)

    def canonical(self, weight: Tensor) -> Tensor:
        """Turn ``(in, out / groups, *kernel)`` to ``(out, in / groups, *kernel)``."""
        return _swap(weight, self.groups)

    def stock_layout(self, weight: Tensor) -> Tensor:
        """Turn ``(out, in / groups, *kernel)`` to ``(in, out / groups, *kernel)``."""
        return _swap(weight, self.groups)

    def run(self, x: Tensor, output_size=None, *, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Map ``(batch, in, *size)`` to ``(batch, out, *size')``."""
        dimensions = weight.dim() - 2
        padding = self._output_padding(
            x, output_size, self.stride, self.padding, self.kernel_size, dimensions, self.dilation
        )
        return _TRANSPOSED[dimensions](
            x, weight, bias, self.stride, self.padding, padding, self.groups, self.dilation
        )

    def branch(self, x: Tensor, output_size=None, *, down: Tensor, up: Tensor) -> Tensor:
        """Convolve to ``r`` channels, for each group of input channels, and from those to all."""
        down = down.transpose(0, 1)
        down = down.repeat(self.groups, *(1,) * (down.dim() - 1)) if self.groups > 1 else down
        narrow = self.run(x, output_size, weight=down, bias=None)
        return mix_channels(narrow, up, down.dim() - 2, self.groups)

    def is_factored(self, x: Tensor) -> bool:
        """Only if asked for: a second convolution costs more than the sum of two weights."""
        return getattr(self.adapter, 'compute', 'merged') == 'factored'


def _swap(weight: Tensor, groups: int) -> Tensor:
    if groups == 1:
        return weight.transpose(0, 1)
    first, second, *kernel = weight.shape
    split = weight.reshape(groups, first // groups, second, *kernel).transpose(1, 2)
    return split.reshape(groups * second, first // groups, *kernel)


class AdaptedConvTranspose1d(TransposedConvLayer, nn.ConvTranspose1d):
    """An adapted ConvTranspose1d."""

    stock_class = nn.ConvTranspose1d


class AdaptedConvTranspose2d(TransposedConvLayer, nn.ConvTranspose2d):
    """An adapted ConvTranspose2d."""

    stock_class = nn.ConvTranspose2d


class AdaptedConvTranspose3d(TransposedConvLayer, nn.ConvTranspose3d):
    """An adapted ConvTranspose3d."""

    stock_class = nn.ConvTranspose3d


CLASSES = (AdaptedConvTranspose1d, AdaptedConvTranspose2d, AdaptedConvTranspose3d)
