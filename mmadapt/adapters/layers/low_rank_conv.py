r"""A convolution with ``W + B A`` whose gradient never has the size of the weight.

Forward it is one convolution with the sum. Backward, with :math:`y = W * x + B (A * x)`,

.. math:: dB = dy\,(A * x)^T, \qquad dA = (B^T dy) \star x, \qquad dx = (W + B A)^T \star dy

so that the weight part, a third of what a convolution costs, becomes three convolutions of ``r``
channels. What is kept is the input and the factors; where ``A`` is not trained, ``A * x`` in the
place of the input, and where ``B`` is not either, nothing of it.
"""

from typing import Any

import torch
from torch import Tensor

from ..affine import scale_rows

# Weights from which on it is faster on the CPUs measured: below, three passes over small maps cost
# more than the one that they replace, whatever the rank.
SMALLEST_WEIGHT = 80_000


class _LowRankConv(torch.autograd.Function):
    """Convolve with ``factor weight + up @ down``."""

    @staticmethod
    def forward(ctx, x, weight, factor, bias, down, up, geometry):
        _, _, _, _, train_down, train_up, _ = ctx.needs_input_grad
        kept = narrow = None
        if train_up and not train_down and geometry[-1] * len(down) < x.shape[1]:
            narrow = _narrow(x, down, geometry)
        elif train_up or train_down:
            kept = x
        ctx.save_for_backward(kept, narrow, weight, factor, down, up)
        ctx.geometry, ctx.bias_dtype = geometry, None if bias is None else bias.dtype
        ctx.size, ctx.dtype = x.shape, x.dtype
        bias = None if bias is None else bias.to(x.dtype)
        return _convolve(x, _merge(weight, factor, down, up, x.dtype), bias, geometry)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        x, narrow, weight, factor, down, up = ctx.saved_tensors
        need_x, _, _, need_bias, need_down, need_up, _ = ctx.needs_input_grad
        grad_x = grad_bias = grad_down = grad_up = None
        if need_x:
            # Made again: kept, the sums of all layers would be a second copy of the model.
            merged = _merge(weight, factor, down, up, ctx.dtype)
            # Of the input its own gradient needs the size only.
            sized = grad.new_empty(1).expand(ctx.size) if x is None else x
            grad_x = _backward(grad, sized, merged, ctx.geometry, (True, False, False))[0]
        if need_bias:
            dtype = torch.promote_types(grad.dtype, torch.float32)
            grad_bias = grad.flatten(2).sum((0, 2), dtype=dtype).to(ctx.bias_dtype)
        if need_up:
            narrow = _narrow(x, down, ctx.geometry) if narrow is None else narrow
            grad_up = _grad_up(grad, narrow, ctx.geometry[-1]).to(up.dtype)
        if need_down:
            grad_down = _grad_down(grad, x, down, up, ctx.geometry).to(down.dtype)
        return grad_x, None, None, grad_bias, grad_down, grad_up, None


def low_rank_conv(
    x: Tensor,
    weight: Tensor,
    factor: Tensor | None,
    bias: Tensor | None,
    down: Tensor | None,
    up: Tensor | None,
    geometry: tuple,
) -> Tensor:
    """Convolve with the sum of a frozen weight and a product of two factors.

    Args:
        x (Tensor): ``(batch, in, *size)``.
        weight (Tensor): ``(out, in / groups, *kernel)``, without a gradient.
        factor (Tensor, optional): On the rows of that weight, ``(out, )``, without a gradient.
        bias (Tensor, optional): ``(out, )``.
        down (Tensor, optional): ``A``, ``(r, in / groups, *kernel)``, the same for every group;
            None for the frozen weight alone.
        up (Tensor, optional): ``B``, ``(out, r)``.
        geometry (tuple): Stride, padding and dilation, each with a number for every dimension, and
            the number of groups.

    Returns:
        Tensor: ``(batch, out, *size')``.
    """
    if torch.is_autocast_enabled(x.device.type):
        x = x.to(torch.get_autocast_dtype(x.device.type))
    with torch.autocast(x.device.type, enabled=False):
        return _LowRankConv.apply(x, weight, factor, bias, down, up, geometry)


def _merge(
    weight: Tensor,
    factor: Tensor | None,
    down: Tensor | None,
    up: Tensor | None,
    dtype: torch.dtype,
) -> Tensor:
    base = weight if factor is None else scale_rows(weight, factor)
    if down is None or up is None:
        return base.to(dtype)
    merged = torch.addmm(base.flatten(1), up.to(weight.dtype), down.flatten(1).to(weight.dtype))
    return merged.view(weight.shape).to(dtype)


def for_each_group(down: Tensor, groups: int) -> Tensor:
    """Return ``A`` as a convolution of so many groups, each with the same weight."""
    return down.repeat(groups, *(1,) * (down.dim() - 1)) if groups > 1 else down


def _narrow(x: Tensor, down: Tensor, geometry: tuple) -> Tensor:
    return _convolve(x, for_each_group(down, geometry[-1]).to(x.dtype), None, geometry)


def _grad_up(grad: Tensor, narrow: Tensor, groups: int) -> Tensor:
    """Return the gradient ``(out, r)`` of ``B``, each group's rows from its own channels."""
    grouped = (t.flatten(2).unflatten(1, (groups, -1)) for t in (grad, narrow))
    return torch.einsum('bgol,bgrl->gor', *grouped).flatten(0, 1)


def _grad_down(grad: Tensor, x: Tensor, down: Tensor, up: Tensor, geometry: tuple) -> Tensor:
    """Return the gradient of ``A``, which all groups have a part in."""
    groups, ones, zeros = geometry[-1], (1,) * (x.dim() - 2), (0,) * (x.dim() - 2)
    mix = up.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1).to(grad.dtype)
    narrow = _convolve(grad, mix.reshape(*mix.shape, *ones), None, (ones, zeros, ones, groups))
    weight = for_each_group(down, groups).to(x.dtype)
    grad_weight = _backward(narrow, x, weight, geometry, (False, True, False))[1]
    return grad_weight.unflatten(0, (groups, -1)).sum(0) if groups > 1 else grad_weight


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: tuple) -> Tensor:
    stride, padding, dilation, groups = geometry
    return torch.convolution(
        x, weight, bias, stride, padding, dilation, False, (0,) * len(stride), groups
    )


def _backward(grad: Tensor, x: Tensor, weight: Tensor, geometry: tuple, mask: tuple) -> Any:
    stride, padding, dilation, groups = geometry
    return torch.ops.aten.convolution_backward(
        grad, x, weight, None, stride, padding, dilation, False, [0] * len(stride), groups, mask
    )
