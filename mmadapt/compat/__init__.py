"""Repairs to the stack underneath that touch nobody's files; each in one place, with its reason."""

from .checkpoint_globals import allow_checkpoint_globals
from .cpu import repair_cpu
from .versions import check_environment

__all__ = ['check_environment', 'repair']


def repair() -> None:
    """Make stock MMEngine load its own checkpoints and run without an accelerator."""
    allow_checkpoint_globals()
    repair_cpu()
