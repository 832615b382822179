"""Dropout before a linear map, keeping neither the mask nor a copy of the input.

Autograd would keep the dropped input and the noise, two maps as large as the input, which the layer
itself keeps already. Here the mask is drawn again when a gradient is needed, from the state that
the random generator had, and the input itself is kept only if the map is trained.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

from ...random_state import get_torch_state, set_torch_state

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


def _draw_again(
    x: Tensor, probability: float, state: tuple[Tensor, Tensor | None]
) -> tuple[Tensor, float]:
    present = get_torch_state()
    set_torch_state(state)
    try:
        return draw_mask(x, probability)
    finally:
        set_torch_state(present)


class _DropAndMap(torch.autograd.Function):
    """``weight * (mask x / (1 - p))`` as a convolution, or as a matrix product."""

    @staticmethod
    def forward(ctx, x, weight, probability, geometry):
        # Of a frozen map the gradient for the input needs no more than the input's size.
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, weight)
        ctx.size, ctx.dtype = x.shape, x.dtype
        ctx.probability, ctx.geometry = probability, geometry
        with torch.cuda.device_of(x):
            ctx.state = get_torch_state()
            mask, scale = draw_mask(x, probability)
        dropped = x * mask * scale
        if geometry is None:
            return F.linear(dropped, weight)
        return _CONVS[weight.dim() - 2](dropped, weight, None, *geometry)

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        x = grad.new_empty(1).expand(ctx.size) if x is None else x
        with torch.cuda.device_of(x):
            mask, scale = _draw_again(x, ctx.probability, ctx.state)
        need_x, need_weight, _, _ = ctx.needs_input_grad
        dropped = (x * mask * scale).to(grad.dtype) if need_weight else x.to(grad.dtype)
        weight_ = weight.to(grad.dtype)
        grad_x: Any = None
        grad_weight: Any = None
        if ctx.geometry is None:
            grad_x = grad @ weight_ if need_x else None
            if need_weight:
                grad_weight = grad.flatten(0, -2).t() @ dropped.flatten(0, -2)
        else:
            stride, padding, dilation, groups = ctx.geometry
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
                (need_x, need_weight, False),
            )
        grad_x = (grad_x * mask * scale).to(ctx.dtype) if need_x else None
        grad_weight = grad_weight.to(weight.dtype) if need_weight else None
        return grad_x, grad_weight, None, None


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
    # As torch's own functions: modes see it as one.
    if has_torch_function((x, weight)):
        return handle_torch_function(drop_and_map, (x, weight), x, weight, probability, geometry)
    return _DropAndMap.apply(x, weight, probability, geometry)


def map_down(x: Tensor, weight: Tensor) -> Tensor:
    """Map features ``(..., in)`` to ``(..., r)`` by ``(r, in)``, as a function that modes see."""
    if has_torch_function((x, weight)):
        return handle_torch_function(map_down, (x, weight), x, weight)
    return F.linear(x, weight)
