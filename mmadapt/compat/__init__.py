"""Repairs to the stack underneath that touch nobody's files; each in one place, with its reason."""

from .checkpoint_globals import allow_checkpoint_globals
from .config_text import repair_config_text
from .cpu import repair_cpu
from .fairscale import provide_checkpoint_wrapper
from .inference import complete_for_inference
from .run_configs import check_run_configs
from .versions import check_environment

__all__ = ['check_environment', 'repair']


def repair() -> None:
    """Make stock OpenMMLab code load its own checkpoints, and run without what it need not have.

    That is an accelerator, and fairscale. What a config says is formatted once; one of which they
    would leave out what is meant for this package is refused. Checkpoints of a training with
    ``peft`` are completed where stock code builds a model for inference.
    """
    allow_checkpoint_globals()
    repair_config_text()
    repair_cpu()
    provide_checkpoint_wrapper()
    check_run_configs()
    complete_for_inference()
