"""Everything that is checked of the config of a run, whoever starts it."""

import os.path as osp

from ..errors import UserError
from ..files import read_checkpoint
from ..hub_parts import check_hub_parts
from ..memory import MemoryConfig
from ..peft import PEFTConfig
from .memory_hook import check_memory_hook
from .peft_hook import check_peft_hook, hook_names
from .strategy import check_strategy

_KEYS = ('peft', 'memory', 'strategy')
_ONCE = ('PEFTInjectHook', 'MemoryHook', 'RandomStateHook')


def check_run(cfg: dict) -> None:
    """Check that what the config says for this package is right, and read by one hook each.

    A config with none of ``peft``, ``memory``, ``strategy`` and the hooks of this package passes.

    Args:
        cfg (dict or Config): A whole config.

    Raises:
        UserError: Something is wrong, would be without effect, or done twice, or what the
            model reads from a hub is missing.
    """
    check_peft_hook(cfg)
    check_memory_hook(cfg)
    check_strategy(cfg)
    names = hook_names(cfg)
    if 'PEFTCheckpointHook' in names:
        raise UserError(
            'the hooks of the config hold PEFTCheckpointHook, which PEFTInjectHook '
            'brings along: remove it'
        )
    for name in _ONCE:
        if names.count(name) > 1:
            raise UserError(
                f'the hooks of the config hold {name} {names.count(name)} times, maybe '
                'because a base of it has it too: keep one'
            )
    # A runner prints the whole config before a hook can say what is wrong with these.
    check_hub_parts(cfg.get('model') or {})
    MemoryConfig.parse(cfg.get('memory'))
    if cfg.get('peft') is not None:
        PEFTConfig.parse(cfg['peft'])


def check_runner(cfg: dict, runner_type: str) -> None:
    """Check the config of a runner that is about to be built, as any tool builds it.

    Args:
        cfg (dict or Config): A whole config, what the command line says included.
        runner_type (str): The class of the runner, which the config may no longer say.

    Raises:
        UserError: What :func:`check_run` raises; or there is no checkpoint to adapt.
    """
    if not any(cfg.get(key) is not None for key in _KEYS) and not {
        *_ONCE,
        'PEFTCheckpointHook',
    } & set(hook_names(cfg)):
        return  # nothing for this package
    check_run(dict(cfg, runner_type=runner_type))
    path = cfg.get('load_from')
    if cfg.get('peft') is not None and path and '://' not in path and not osp.exists(path):
        read_checkpoint(path)  # says what there is
