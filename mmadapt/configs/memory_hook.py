"""A `memory` key without the hook that reads it would be without effect."""

from ..errors import UserError
from .peft_hook import hook_names


def check_memory_hook(cfg: dict) -> None:
    """Check that a config with a ``memory`` key has what reads it.

    That is MemoryHook, or PEFTInjectHook, which brings it along, or any strategy.

    Args:
        cfg (dict or Config): A whole config.

    Raises:
        UserError: ``memory`` is set and nothing would read it.
    """
    if cfg.get('memory') is not None and cfg.get('runner_type', 'Runner') == 'Runner' \
            and not {'MemoryHook', 'PEFTInjectHook'} & set(hook_names(cfg)):
        raise UserError("the config has `memory` but no hook that reads it: custom_hooks = [*_base_"
                        ".get('custom_hooks', []), dict(type='MemoryHook')]")
