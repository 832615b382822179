r"""A frozen convolution and norm whose output is scaled and shifted (SSF), cheaply.

With :math:`y = s n + t`, where n is the output of the frozen layers, the gradients are

.. math:: ds = \sum dy\, n, \qquad dt = \sum dy, \qquad dn = s\, dy

and :math:`n = (y - t) / s` needs no map beside the output, which the activation behind keeps
anyway. Neither the convolution's input nor its weight gradient is needed, which is what makes SSF
cheaper than anything that changes a weight. Where a scale is near zero n is not recovered well from
y, and the ordinary way is taken.
"""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..adapters import SSF
from ..adapters.affine import move_into_bias, scale_rows
from .affine import affine_of
from .scales import far_from_zero, has_passed_backward


class _RescaledConv(torch.autograd.Function):
    """``s conv(x) + t`` of a frozen convolution, keeping its output only."""

    @staticmethod
    def forward(ctx, x, weight, factor, bias, scale, shift, geometry, norm):
        scaled = _scaled(weight, factor, scale)
        y = torch.conv2d(x, scaled, torch.addcmul(shift, bias, scale), *geometry)
        ctx.save_for_backward(y, weight, factor, scale, shift)
        ctx.geometry, ctx.size, ctx.norm = geometry, x.shape, norm
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        y, weight, factor, scale, shift = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.geometry
        grad_scale = grad_shift = grad_x = None
        total = grad.sum((0, 2, 3), dtype=torch.float32)
        if ctx.needs_input_grad[4]:
            product = torch.einsum('nchw,nchw->c', grad, y).float()
            # Zero only where that is found a step late.
            grad_scale = (product - shift * total) / scale.masked_fill(scale == 0, torch.inf)
        if ctx.needs_input_grad[5]:
            grad_shift = total
        if ctx.needs_input_grad[0]:
            # The gradient for the input needs the input's size only.
            grad_x = torch.ops.aten.convolution_backward(
                grad,
                grad.new_empty(1).expand(ctx.size),
                # Made again: kept, it would be a second copy of the weight.
                _scaled(weight, factor, scale).to(grad.dtype),
                None,
                stride,
                padding,
                dilation,
                False,
                [0, 0],
                groups,
                (True, False, False),
            )[0]
        has_passed_backward(ctx.norm)
        return grad_x, None, None, None, grad_scale, grad_shift, None, None


def _scaled(weight: Tensor, factor: Tensor, scale: Tensor) -> Tensor:
    """Return the weight that the frozen norm and then the adapter scale."""
    return scale_rows(scale_rows(weight, factor), scale)


def can_rescale(conv: nn.Module, norm: nn.Module) -> bool:
    """Return whether a frozen convolution before an SSF norm can be computed this way, now."""
    return (
        type(conv) is nn.Conv2d
        and not conv.weight.requires_grad
        and conv.padding_mode == 'zeros'
        and not isinstance(conv.padding, str)
        and isinstance(norm.adapter, SSF)
        and not torch.compiler.is_compiling()
        and far_from_zero(norm)
    )


def rescaled_conv(x: Tensor, conv: nn.Conv2d, norm: _BatchNorm) -> Tensor:
    """Compute a frozen convolution, its frozen norm, and the norm's scale and shift.

    Args:
        x (Tensor): The input, ``(batch, in, height, width)``.
        conv (nn.Conv2d): The convolution.
        norm (_BatchNorm): A norm for which :func:`can_rescale` holds.

    Returns:
        Tensor: ``(batch, out, height', width')``; no later operation may write into it.
    """
    affine = affine_of(norm, stock=True)
    bias = move_into_bias(conv.bias, affine).to(conv.weight.dtype)
    geometry = (conv.stride, conv.padding, conv.dilation, conv.groups)
    return _RescaledConv.apply(
        x, conv.weight, affine[0], bias, norm.ssf_scale, norm.ssf_shift, geometry, norm
    )
