"""What of a config's memory recipes would be without effect."""

from ..errors import UserError
from ..memory import MemoryConfig
from .peft_hook import hook_names


def check_memory_hook(cfg: dict) -> None:
    """Check that a config with a ``memory`` key has what reads it, and islands if it inherits some.

    The first is MemoryHook, or PEFTInjectHook, which brings it along, or any strategy. The others
    are the variable ``fp32_modules`` of the files in configs/_base_/memory.

    Args:
        cfg (dict or Config): A whole config.

    Raises:
        UserError: ``memory`` is set and nothing would read it, or ``fp32_modules`` is inherited and
            not in ``memory``.
    """
    if cfg.get('fp32_modules') and not MemoryConfig.parse(cfg.get('memory')).fp32_modules:
        raise UserError('the config inherits fp32_modules, which nothing reads as it stands: write '
                        'memory = dict(fp32_modules=_base_.fp32_modules)')
    if cfg.get('memory') is not None and cfg.get('runner_type', 'Runner') == 'Runner' \
            and not {'MemoryHook', 'PEFTInjectHook'} & set(hook_names(cfg)):
        raise UserError("the config has `memory` but no hook that reads it: custom_hooks = [*_base_"
                        ".get('custom_hooks', []), dict(type='MemoryHook')]")
