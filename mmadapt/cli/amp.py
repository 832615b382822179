"""Where ``--amp`` of the training tool is put, and what a run in mixed precision wants beside."""

from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict
from mmengine.fileio import load

from ..errors import UserError
from ..memory import AUTO
from ..optim import autocast_dtype
from ..preflight.peft_hook import hook_names
from ..strategies.deepspeed.settings import AUTOCAST, require_bfloat16
from ..type_names import type_name

_KEPT = ('AmpOptimWrapper', 'AutocastOptimWrapper')


def set_amp(cfg: Config) -> str:
    """Let a run compute in mixed precision: bfloat16 where the device does, else float16.

    A strategy of DeepSpeed has its own autocast, which gets it; otherwise the optimizer wrapper
    does. What the config says itself about mixed precision is kept. Where it does not say what
    computes in float32 all the same, that is what the model needs.

    Args:
        cfg (Config): The config; changed in place.

    Returns:
        str: A line that says what was chosen.

    Raises:
        UserError: The config trains by other means, which have no place for it.
    """
    strategy = _strategy(cfg)
    if strategy == 'ColossalAIStrategy':
        raise UserError(
            '--amp: ColossalAIStrategy has its own mixed precision; leave out --amp '
            'and set strategy.mixed_precision'
        )
    line = (
        _set_deepspeed(cfg.strategy)
        if strategy.endswith('DeepSpeedStrategy')
        else _set_wrapper(cfg)
    )
    return line + _set_islands(cfg)


def without_islands(cfg: Config) -> str | None:
    """Say so where a config computes in mixed precision and names nothing that must not.

    Args:
        cfg (Config): The config, not changed by :func:`set_amp`.

    Returns:
        str, optional: A line for the log; None where all is said.
    """
    if _says_islands(cfg):
        return None
    if _strategy(cfg) == 'DeepSpeedStrategy':
        config = cfg.strategy.get('config')
        own = [
            section.get('torch_autocast')
            for section in (cfg.strategy, config)
            if isinstance(section, dict)
        ]
        is_on = next(filter(None, own), AUTOCAST).get('enabled', False)
        where = 'strategy.torch_autocast' if is_on else ''
    else:
        wrapper = cfg.get('optim_wrapper')
        kind = type_name(wrapper.get('type')) if isinstance(wrapper, dict) else ''
        where = f'optim_wrapper.type={kind!r}' if kind in _KEPT else ''
    return (
        where
        and (
            f'{where} computes in a low precision, in which boxes and losses are wrong '
            f"and some kernels missing: memory = dict(fp32_modules='{AUTO}') keeps "
            'float32 where this model needs it, [] nowhere'
        )
        or None
    )


def _strategy(cfg: Config) -> str:
    if type_name(cfg.get('runner_type')) != 'FlexibleRunner':  # the other one has no strategies
        return ''
    return type_name((cfg.get('strategy') or {}).get('type'))


def _says_islands(cfg: Config) -> bool:
    return 'fp32_modules' in (cfg.get('memory') or {})


def _set_islands(cfg: Config) -> str:
    """Let what needs float32 keep it; returns the end of a line that says so."""
    if _says_islands(cfg):
        return ''
    cfg.memory = ConfigDict(cfg.get('memory') or {}, fp32_modules=AUTO)
    if cfg.get('runner_type', 'Runner') == 'Runner' and not {'MemoryHook', 'PEFTInjectHook'} & set(
        hook_names(cfg)
    ):
        cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), dict(type='MemoryHook')]
    return f"; float32 where this model needs it (memory.fp32_modules='{AUTO}')"


def _set_wrapper(cfg: Config) -> str:
    wrapper = cfg.get('optim_wrapper')
    if not isinstance(wrapper, ConfigDict) or 'optimizer' not in wrapper:
        raise UserError('--amp: the config has no optim_wrapper=dict(optimizer=dict(type=...))')
    kind = type_name(wrapper.get('type', 'OptimWrapper'))
    if kind in _KEPT:
        dtype = _dtype_of(wrapper.get('dtype')) or f'the default of {kind}'
        return f"--amp: the config's own {kind} is kept, in {dtype}"
    if kind != 'OptimWrapper':
        raise UserError(
            f'--amp takes the place of an OptimWrapper, the config has a {kind}; leave '
            "out --amp, or set optim_wrapper.type='OptimWrapper'"
        )
    wrapper.type = 'AutocastOptimWrapper'
    wrapper.setdefault('dtype', _dtype_of(autocast_dtype()))
    return _said(wrapper.dtype, 'optim_wrapper.dtype')


def _set_deepspeed(strategy: ConfigDict) -> str:
    config = strategy.get('config')
    if isinstance(config, str):
        if not Path(config).is_file():
            raise UserError(f'strategy.config: there is no file {config}')
        config = load(config)
    strategy.config = config = ConfigDict(config or {})
    for section in ('fp16', 'bf16', 'amp', 'torch_autocast'):
        own = strategy.get(section) or config.get(section) or {}
        if own.get('enabled', False):
            return f"--amp: the config's own DeepSpeed section {section} is kept"
    require_bfloat16('--amp under DeepSpeedStrategy: leave it out and write')
    strategy.pop('torch_autocast', None)  # it is off, and would come before that of `config`
    # ZeRO-3 would hand out the weights of "safe" modules, which are all of the class Linear or
    # Conv2d, rounded to this dtype: those of float32 islands too.
    config.torch_autocast = dict(enabled=True, dtype='bfloat16', lower_precision_safe_modules=[])
    return _said('bfloat16', 'strategy.config.torch_autocast.dtype')


def _said(dtype, where: str) -> str:
    dtype = _dtype_of(dtype)
    if dtype != 'float16':
        return f'--amp: autocast in {dtype} ({where})'
    reason = ''
    if autocast_dtype() == torch.float16:
        reason = f', because this {torch.cuda.get_device_name()} does not compute in bfloat16'
    return f'--amp: autocast in float16, with a gradient scaler ({where}){reason}'


def _dtype_of(dtype) -> str | None:
    return None if dtype is None else str(dtype).removeprefix('torch.')
