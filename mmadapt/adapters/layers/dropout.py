"""Dropout before a linear map, keeping a mask of one byte an element and no copy of the input.

Autograd would keep the dropped input and the noise, two maps as large as the input, which the layer
itself keeps already. Here the dropped input is made again when its gradient is needed.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

_CONVS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


_LEVELS = 1 << 16


def draw_mask(x: Tensor, probability: float) -> tuple[Tensor, float]:
    """Draw which elements of ``x`` are kept.

    From 16 random bits each, which costs a ninth of ``F.dropout`` on a CPU, where the drawing would
    cost more than the convolution behind it.

    Args:
        x (Tensor): Of any shape.
        probability (float): With which an element is dropped.

    Returns:
        tuple[Tensor, float]: Booleans of its shape, and the factor that keeps the mean: the inverse
        of the probability to be kept, to which the one asked for is rounded (1.5e-5).
    """
    dropped = min(max(round(probability * _LEVELS), 1), _LEVELS - 1)
    words = torch.empty(-(-x.numel() // 4), dtype=torch.int64, device=x.device)
    bits = words.random_(-(2**63), None).view(torch.int16)[: x.numel()]
    kept = bits >= dropped - _LEVELS // 2
    return kept.view(x.shape), _LEVELS / (_LEVELS - dropped)


class _DropAndMap(torch.autograd.Function):
    """``weight * (mask x / (1 - p))`` as a convolution, or as a matrix product."""

    @staticmethod
    def forward(ctx, x, weight, mask, scale, geometry):
        ctx.save_for_backward(x, weight, mask)
        ctx.scale, ctx.geometry = scale, geometry
        dropped = x * mask * scale
        if geometry is None:
            return F.linear(dropped, weight)
        return _CONVS[weight.dim() - 2](dropped, weight, None, *geometry)

    @staticmethod
    def backward(ctx, grad):
        x, weight, mask = ctx.saved_tensors
        dropped, weight_ = (x * mask * ctx.scale).to(grad.dtype), weight.to(grad.dtype)
        if ctx.geometry is None:
            grad_x = grad @ weight_
            grad_weight = grad.flatten(0, -2).t() @ dropped.flatten(0, -2)
        else:
            stride, padding, dilation, groups = ctx.geometry
            needed = (ctx.needs_input_grad[0], ctx.needs_input_grad[1], False)
            grad_x, grad_weight, _ = torch.ops.aten.convolution_backward(
                grad,
                dropped,
                weight_,
                None,
                stride,
                padding,
                dilation,
                False,
                [0] * len(stride),
                groups,
                needed,
            )
        grad_x = (grad_x * mask * ctx.scale).to(x.dtype) if ctx.needs_input_grad[0] else None
        grad_weight = grad_weight.to(weight.dtype) if ctx.needs_input_grad[1] else None
        return grad_x, grad_weight, None, None, None


def drop_and_map(x: Tensor, weight: Tensor, probability: float, geometry=None) -> Tensor:
    """Map an input, some of whose elements are dropped.

    Args:
        x (Tensor): ``(..., in)``, or ``(batch, in, *size)`` for a convolution.
        weight (Tensor): ``(out, in)``, or ``(out, in / groups, *kernel)``.
        probability (float): With which an element is dropped.
        geometry (tuple, optional): Stride, padding, dilation and groups of a convolution.

    Returns:
        Tensor: The output of the matrix or of the convolution.
    """
    mask, scale = draw_mask(x, probability)
    return _DropAndMap.apply(x, weight, mask, scale, geometry)
