"""Optimizer wrappers, and constructors of them for adapted models."""

from .autocast import AutocastOptimWrapper, autocast_dtype
from .lora_plus import LoRAPlusOptimWrapperConstructor
from .named_lr import NamedLR

__all__ = ['AutocastOptimWrapper', 'LoRAPlusOptimWrapperConstructor', 'NamedLR', 'autocast_dtype']
