"""What every run under our FlexibleRunner has, whether its config names it or not."""

from torch import nn

from ..runner import prepares_runs
from .memory_hook import MemoryHook, lacks_memory_hook
from .random_state_hook import add_random_state_hook
from .safe_checkpoints import secure_checkpoints


@prepares_runs
def prepare_run(runner, model: nn.Module) -> None:
    """Write checkpoints atomically, and register the hooks that are wanted and not there.

    Args:
        runner (FlexibleRunner): The runner, before its hooks' ``before_run``.
        model (nn.Module): Its model, built and initialized.
    """
    secure_checkpoints(runner)
    add_random_state_hook(runner)
    if lacks_memory_hook(runner, model):
        runner.register_hook(MemoryHook())
