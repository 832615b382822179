"""What a config says of memory that would be without effect."""

from ..errors import UserError
from ..memory import MemoryConfig
from .peft_hook import hook_names


def check_memory_hook(cfg: dict) -> None:
    """Check that a config with a ``memory`` key has what reads it.

    That is MemoryHook, or PEFTInjectHook, which brings it along, or any strategy.

    Args:
        cfg (dict or Config): A whole config.

    Raises:
        UserError: ``memory`` is set and nothing would read it, or ``fp32_modules`` is beside it.
    """
    if cfg.get('fp32_modules') and not MemoryConfig.parse(cfg.get('memory')).fp32_modules:
        raise UserError(
            'the config has fp32_modules, which nothing reads as it stands: write '
            "memory = dict(fp32_modules='auto'), or a list of modules"
        )
    if (
        cfg.get('memory') is not None
        and cfg.get('runner_type', 'Runner') == 'Runner'
        and not {'MemoryHook', 'PEFTInjectHook'} & set(hook_names(cfg))
    ):
        raise UserError(
            'the config has `memory` but no hook that reads it: custom_hooks = [*_base_'
            ".get('custom_hooks', []), dict(type='MemoryHook')]"
        )
