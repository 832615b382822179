"""Model wrappers that adapt the model before they wrap it."""

from .ddp import PEFTDistributedDataParallel

__all__ = ['PEFTDistributedDataParallel']
