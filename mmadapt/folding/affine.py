r"""A BatchNorm of frozen statistics as the affine map that it is.

.. math:: y = \gamma \frac{x - \mu}{\sqrt{v + \epsilon}} + \beta = f x + g
"""

from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..adapters.as_one import as_one
from ..adapters.layers.norm import NormLayer
from ..norms import FrozenStatistics


def is_affine(norm: nn.Module) -> TypeGuard[_BatchNorm]:
    """Return whether a norm is an affine map of its channels, whatever its input."""
    return isinstance(norm, FrozenStatistics) and norm.is_only_norm and isinstance(norm, _BatchNorm)


def affine_of(norm: _BatchNorm, stock: bool = False) -> tuple[Tensor, Tensor]:
    """Return factor and shift of a BatchNorm of frozen statistics.

    Args:
        norm (_BatchNorm): A norm for which :func:`is_affine` holds.
        stock (bool): Whether to leave its adapter out, if it has one. Defaults to False.

    Returns:
        tuple[Tensor, Tensor]: Each ``(channels, )``.
    """
    weight: Tensor | None = norm.weight
    bias: Tensor | None = norm.bias
    if isinstance(norm, NormLayer) and not stock:
        weight, bias = norm.effective()
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None  # it would not be frozen
    assert variance is not None
    return as_one(_factor_and_shift, variance, mean, weight, bias, norm.eps)


def _factor_and_shift(
    variance: Tensor, mean: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    factor = torch.rsqrt(variance + eps)
    factor = factor if weight is None else weight * factor
    shift = -mean * factor
    return factor, shift if bias is None else bias + shift
