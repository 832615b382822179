"""Techniques that let a model train in less memory."""

from .checkpointing import checkpoint_activations

__all__ = ['checkpoint_activations']
