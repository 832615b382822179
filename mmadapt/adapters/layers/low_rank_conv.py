r"""A convolution with ``W + B A`` whose gradient never has the size of the weight.

Forward it is one convolution with the sum. Backward, with :math:`y = W * x + B (A * x)`,

.. math:: dB = dy\,(A * x)^T, \qquad dA = (B^T dy) \star x, \qquad dx = (W + B A)^T \star dy

so that the weight part, a third of what a convolution costs, becomes three convolutions of ``r``
channels. What is kept is the input and the factors.
"""

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
        ctx.save_for_backward(x, weight, factor, down, up)
        ctx.geometry, ctx.bias_dtype = geometry, None if bias is None else bias.dtype
        bias = None if bias is None else bias.to(x.dtype)
        return _convolve(x, _merge(weight, factor, down, up, x.dtype), bias, geometry)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        x, weight, factor, down, up = ctx.saved_tensors
        need_x, _, _, need_bias, need_down, need_up, _ = ctx.needs_input_grad
        grad_x = grad_bias = grad_down = grad_up = None
        if need_x:
            # Made again: kept, the sums of all layers would be a second copy of the model.
            merged = _merge(weight, factor, down, up, x.dtype)
            grad_x = _backward(grad, x, merged, ctx.geometry, (True, False, False))[0]
        if need_bias:
            grad_bias = grad.flatten(2).sum((0, 2), dtype=torch.float32).to(ctx.bias_dtype)
        if need_up:
            narrow = _convolve(x, down.to(x.dtype), None, ctx.geometry)
            grad_up = torch.einsum('bol,brl->or', grad.flatten(2), narrow.flatten(2)).to(up.dtype)
        if need_down:
            ones, zeros = (1,) * (x.dim() - 2), (0,) * (x.dim() - 2)
            mix = up.t().reshape(*up.t().shape, *ones).to(grad.dtype)
            narrow = _convolve(grad, mix, None, (ones, zeros, ones))
            grad_down = _backward(narrow, x, down.to(x.dtype), ctx.geometry, (False, True, False))[
                1
            ].to(down.dtype)
        return grad_x, None, None, grad_bias, grad_down, grad_up, None


def low_rank_conv(
    x: Tensor,
    weight: Tensor,
    factor: Tensor | None,
    bias: Tensor | None,
    down: Tensor,
    up: Tensor,
    geometry: tuple,
) -> Tensor:
    """Convolve with the sum of a frozen weight and a product of two trained factors.

    Args:
        x (Tensor): ``(batch, in, *size)``.
        weight (Tensor): ``(out, in, *kernel)``, without a gradient.
        factor (Tensor, optional): On the rows of that weight, ``(out, )``, without a gradient.
        bias (Tensor, optional): ``(out, )``.
        down (Tensor): ``A``, ``(r, in, *kernel)``.
        up (Tensor): ``B``, ``(out, r)``.
        geometry (tuple): Stride, padding and dilation, each with a number for every dimension.

    Returns:
        Tensor: ``(batch, out, *size')``.
    """
    if torch.is_autocast_enabled(x.device.type):
        x = x.to(torch.get_autocast_dtype(x.device.type))
    with torch.autocast(x.device.type, enabled=False):
        return _LowRankConv.apply(x, weight, factor, bias, down, up, geometry)


def _merge(
    weight: Tensor, factor: Tensor | None, down: Tensor, up: Tensor, dtype: torch.dtype
) -> Tensor:
    base = weight if factor is None else scale_rows(weight, factor)
    merged = torch.addmm(base.flatten(1), up.to(weight.dtype), down.flatten(1).to(weight.dtype))
    return merged.view(weight.shape).to(dtype)


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: tuple) -> Tensor:
    stride, padding, dilation = geometry
    return torch.convolution(
        x, weight, bias, stride, padding, dilation, False, (0,) * len(stride), 1
    )


def _backward(grad: Tensor, x: Tensor, weight: Tensor, geometry: tuple, mask: tuple):
    stride, padding, dilation = geometry
    return torch.ops.aten.convolution_backward(
        grad, x, weight, None, stride, padding, dilation, False, [0] * len(stride), 1, mask
    )
