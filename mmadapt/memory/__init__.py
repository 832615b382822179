"""Techniques that let a model train in less memory."""

from .apply import apply_memory
from .config import MemoryConfig
from .families import AUTO

__all__ = ['AUTO', 'MemoryConfig', 'apply_memory']
