"""Optimiser-wrapper constructors for adapted models."""

from .lora_plus import LoRAPlusOptimWrapperConstructor

__all__ = ['LoRAPlusOptimWrapperConstructor']
