"""Adapted convolutions: any dimension, stride, padding mode, dilation and number of groups."""

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..affine import Affine
from ..as_one import as_one
from .dropout import drop_and_map
from .low_rank_conv import SMALLEST_WEIGHT, for_each_group, low_rank_conv
from .weight import WeightLayer

_CONVS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


class ConvLayer(WeightLayer):
    """How an adapted convolution computes."""

    method_options = frozenset({'dropout', 'compute'})
    foldable = True
    stride: tuple[int, ...]
    padding: tuple[int, ...] | str
    dilation: tuple[int, ...]
    kernel_size: tuple[int, ...]
    in_channels: int
    out_channels: int
    groups: int
    padding_mode: Literal['zeros', 'reflect', 'replicate', 'circular']
    _conv_forward: Callable[..., Tensor]

    def run(self, x: Tensor, *, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Map ``(batch, in, *size)`` to ``(batch, out, *size')``."""
        if (
            self.adapter.freeze_A
            and not weight.requires_grad
            and torch.is_grad_enabled()
            and self._is_plain(x)
        ):
            # torch's own keeps its input, whether the weight is trained or not.
            return low_rank_conv(x, weight, None, bias, None, None, self._geometry)
        return self._conv_forward(x, weight, bias)

    def compute(self, x: Tensor, *, affine: Affine | None = None) -> Tensor:
        """Compute the output, in training with the backward pass that is cheaper."""
        is_trained = affine is not None and affine[0].requires_grad  # the norm behind
        if is_trained or not self._pays_low_rank_backward(x):
            return super().compute(x, affine=affine)
        tensors, (weight, bias) = self.step_tensors(), self.weight_parts()['']
        factor = None if affine is None else affine[0]
        down, up, bias = as_one(self.adapter.low_rank_scaled, weight, bias, tensors, affine)
        return low_rank_conv(x, weight, factor, bias, down, up, self._geometry)

    @property
    def _geometry(self) -> tuple:
        return self.stride, self.padding, self.dilation, self.groups

    def _pays_low_rank_backward(self, x: Tensor) -> bool:
        weight, adapter = self.weight, self.adapter
        is_faster = self.groups == 1 and weight.numel() >= SMALLEST_WEIGHT
        keeps_less = adapter.freeze_A and self.groups * adapter.r < self.in_channels
        return (
            self.training
            and adapter.is_free_sum
            and (is_faster or keeps_less)
            and self._is_plain(x)
            and not self.standardizes
            and not self.drops_elements
            and not weight.requires_grad
            and torch.is_grad_enabled()
        )

    def _is_plain(self, x: Tensor) -> bool:
        # An input without a batch has no backward of its own.
        return (
            self.padding_mode == 'zeros'
            and not isinstance(self.padding, str)
            and x.dim() == self.weight.dim()
            and not torch.compiler.is_compiling()
            and type(self).run is ConvLayer.run
        )

    def branch(self, x: Tensor, *inputs: Any, down: Tensor, up: Tensor) -> Tensor | None:
        """Convolve to ``r`` channels, for each group of input channels, and from those to all."""
        # Every group of the weight has the same A, applied to its own channels of the input.
        narrow = self.run(x, weight=for_each_group(down, self.groups), bias=None)
        return mix_channels(narrow, up, down.dim() - 2, self.groups)

    def branch_behind_dropout(
        self, x: Tensor, probability: float, *, down: Tensor, up: Tensor
    ) -> Tensor | None:
        """Convolve an input some of whose elements are dropped."""
        if not self._is_plain(x):
            return super().branch_behind_dropout(x, probability, down=down, up=up)
        narrow = drop_and_map(x, for_each_group(down, self.groups), probability, self._geometry)
        return mix_channels(narrow, up, down.dim() - 2, self.groups)

    def is_factored(self, x: Tensor) -> bool:
        """Only if asked for: a second convolution costs more than the sum of two weights."""
        return not self.standardizes and getattr(self.adapter, 'compute', 'merged') == 'factored'


def mix_channels(x: Tensor, up: Tensor, dimensions: int, groups: int) -> Tensor:
    """Map ``groups * r`` channels to ``out``, each group to its own share, by ``(out, r)``."""
    return _CONVS[dimensions](x, up.view(*up.shape, *(1,) * dimensions), groups=groups)


class AdaptedConv1d(ConvLayer, nn.Conv1d):
    """An adapted Conv1d."""

    stock_class = nn.Conv1d


class AdaptedConv2d(ConvLayer, nn.Conv2d):
    """An adapted Conv2d."""

    stock_class = nn.Conv2d


class AdaptedConv3d(ConvLayer, nn.Conv3d):
    """An adapted Conv3d."""

    stock_class = nn.Conv3d


CLASSES = (AdaptedConv1d, AdaptedConv2d, AdaptedConv3d)
