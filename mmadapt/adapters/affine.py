"""Affine maps of a layer's output channels, moved into its weight and bias."""

from torch import Tensor

Affine = tuple[Tensor, Tensor]
"""Factor and shift, each ``(out, )``."""


def scale_rows(weight: Tensor, factor: Tensor) -> Tensor:
    """Multiply the rows of a weight ``(out, in / groups, *kernel)`` by ``(out, )`` factors."""
    # Rounded once: a factor near one would be lost in half precision.
    return (weight * factor.view(-1, *(1,) * (weight.dim() - 1))).to(weight.dtype)


def move_affine(weight: Tensor, bias: Tensor | None, affine: Affine) -> tuple[Tensor, Tensor]:
    """Return the weight and bias whose output is the affine map of the given ones' output."""
    return scale_rows(weight, affine[0]), move_into_bias(bias, affine).to(weight.dtype)


def move_into_bias(bias: Tensor | None, affine: Affine) -> Tensor:
    """Return the bias that is left of an affine map whose factor is in the weight."""
    factor, shift = affine
    return shift if bias is None else shift + bias * factor
