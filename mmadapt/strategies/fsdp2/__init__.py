"""Training with weights, gradients and optimizer state in pieces (fully sharded)."""

from .strategy import FSDP2Strategy

__all__ = ['FSDP2Strategy']
