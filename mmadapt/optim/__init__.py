"""Optimizer wrappers, and constructors of them for adapted models."""

from .autocast import AutocastOptimWrapper, autocast_dtype
from .lora_plus import LoRAPlusOptimWrapperConstructor

__all__ = ['AutocastOptimWrapper', 'LoRAPlusOptimWrapperConstructor', 'autocast_dtype']
