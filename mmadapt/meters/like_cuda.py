"""Lets a model on a CPU keep for backward what it would keep on a GPU.

Three things differ: autocast has other lists of what computes in float32; dropout keeps a byte an
element there, a float here; and the kernel of multi-scale deformable attention keeps its arguments,
where its form in Python keeps every sampled value.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import torch
import torch.nn.functional as F
from mmcv.ops import multi_scale_deform_attn
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

# https://docs.pytorch.org/docs/stable/amp.html: CUDA ops that autocast to float32.
_NAMES = (
    'binary_cross_entropy_with_logits',
    'cdist',
    'cosine_similarity',
    'cross_entropy',
    'cumprod',
    'cumsum',
    'exp',
    'expm1',
    'group_norm',
    'kl_div',
    'l1_loss',
    'layer_norm',
    'log',
    'log1p',
    'log_softmax',
    'mse_loss',
    'nll_loss',
    'norm',
    'normalize',
    'pow',
    'prod',
    'reciprocal',
    'rsqrt',
    'smooth_l1_loss',
    'softmax',
    'softplus',
    'sum',
)
_FLOAT32 = {
    getattr(place, name) for place in (torch, F, Tensor) for name in _NAMES if hasattr(place, name)
} | {Tensor.__pow__}
_DROPOUT = (F.dropout, torch.dropout)


@contextmanager
def like_cuda() -> Iterator[None]:
    """Compute as on a GPU, as far as what is kept for backward goes; values are not those."""
    with (
        mock.patch.object(
            multi_scale_deform_attn, 'multi_scale_deformable_attn_pytorch', _deformable_attention
        ),
        _Functions(),
    ):
        yield


class _Functions(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in _FLOAT32 and torch.is_autocast_enabled('cpu'):
            args, kwargs = tree_map_only(Tensor, _in_float32, (args, kwargs))
            with torch.autocast('cpu', enabled=False):
                return func(*args, **kwargs)
        if func in _DROPOUT:
            return _dropout(*args, **kwargs)
        return func(*args, **kwargs)


def _in_float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor


def _dropout(
    input: Tensor,
    p: float = 0.5,
    training: bool = True,
    train: bool | None = None,
    inplace: bool = False,
) -> Tensor:
    training = training if train is None else train
    if not training or p == 0:
        return input
    return torch.native_dropout(input, p, True)[0]


def _deformable_attention(
    value: Tensor, shapes: Tensor, locations: Tensor, weights: Tensor
) -> Tensor:
    return _Kernel.apply(value, shapes, locations.type_as(value), weights.type_as(value))


class _Kernel(torch.autograd.Function):
    """Keeps what mmcv's MultiScaleDeformableAttnFunction keeps, and computes nothing."""

    @staticmethod
    def forward(ctx, value: Tensor, shapes: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(value, shapes, locations, weights)
        return value.new_zeros(len(value), locations.shape[1], value.shape[2] * value.shape[3])

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple:
        value, _, locations, weights = ctx.saved_tensors
        return (
            torch.zeros_like(value),
            None,
            torch.zeros_like(locations),
            torch.zeros_like(weights),
        )
