"""Training with weights, gradients and optimiser state in pieces (fully sharded)."""

from .strategy import FSDP2Strategy

__all__ = ['FSDP2Strategy']
