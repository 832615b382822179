"""Frozen BatchNorm folded into the convolution before it, during training."""

from .install import fold_norms, unfold_norms
from .sites import find_sites

__all__ = ['find_sites', 'fold_norms', 'unfold_norms']
