"""Techniques that let a model train in less memory."""

from .apply import apply_memory
from .config import MemoryConfig

__all__ = ['MemoryConfig', 'apply_memory']
