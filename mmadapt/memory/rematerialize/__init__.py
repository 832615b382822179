"""Making again in the backward pass what is cheap to make, instead of keeping it."""

from .entry import Rematerialization, compiled_parts, levels_of
from .levels import LEVELS

__all__ = ['LEVELS', 'Rematerialization', 'compiled_parts', 'levels_of']
