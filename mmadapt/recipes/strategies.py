"""Which strategy a config trains by, as far as a plan has to know it."""

import inspect
from collections.abc import Sequence

from mmengine.config import Config

from ..errors import UserError
from ..preflight import check_run
from ..strategies import FSDP2Strategy, choose_strategy, with_runner_keys
from ..strategies.asked_run import run_of_config
from ..strategies.deepspeed import refusals as deepspeed
from ..strategies.deepspeed.settings import parse_settings
from ..strategies.fsdp2 import refusals as fsdp2
from ..strategies.fsdp2.options import check_groups, check_values, refuse_unknown
from ..type_names import type_name

_AUTOCAST = ('AmpOptimWrapper', 'AutocastOptimWrapper')
# What every strategy takes.
_COMMON = ('sync_bn', 'env_kwargs', 'log_kwargs', 'auto_scale_lr', 'work_dir', 'experiment_name')
_FSDP2 = {
    name: argument.default
    for name, argument in inspect.signature(FSDP2Strategy).parameters.items()
    if argument.default is not argument.empty and name not in _COMMON
}


def strategy_of(cfg: Config) -> tuple[str | None, dict]:
    """Return which of :data:`~mmadapt.recipes.recipe.STRATEGIES` a config trains by, if any.

    Args:
        cfg (Config): A whole config.

    Returns:
        tuple[str, dict]: It, and its settings: of FSDP2Strategy all its own arguments, of
        DeepSpeedStrategy DeepSpeed's configuration.

    Raises:
        UserError: Nothing is known of the strategy, or it would refuse a setting.
    """
    if type_name(cfg.get('runner_type')) != 'FlexibleRunner' or not cfg.get('strategy'):
        return None, {}
    kind = cfg.strategy.get('type')
    scope, _, name = (
        kind if isinstance(kind, str) else f'{kind.__module__.partition(".")[0]}.{kind.__name__}'
    ).rpartition('.')
    options = {key: value for key, value in cfg.strategy.items() if key not in ('type', *_COMMON)}
    if name in ('SingleDeviceStrategy', 'DDPStrategy'):
        return ('ddp' if name == 'DDPStrategy' else None), {}
    if name == 'FSDP2Strategy':
        refuse_unknown({k: v for k, v in options.items() if k not in _FSDP2}, _FSDP2)
        check_values({**_FSDP2, **options})
        return 'fsdp2', {**_FSDP2, **options}
    if (scope, name) == ('mmadapt', 'DeepSpeedStrategy'):
        settings, _ = parse_settings(options.pop('config', None), options)
        return f'zero{settings["zero_optimization"]["stage"]}', settings
    raise UserError(
        f'strategy.type={kind!r}: nothing is known of what it shards; known are '
        "'mmadapt.DDPStrategy', 'mmadapt.FSDP2Strategy' and "
        "'mmadapt.DeepSpeedStrategy'"
    )


def has_amp(cfg: Config) -> bool:
    """Return whether a config trains in mixed precision."""
    kind, settings = strategy_of(cfg)
    if kind in ('zero1', 'zero2', 'zero3'):
        return settings['torch_autocast']['enabled']
    return has_autocast(cfg)


def has_autocast(cfg: Config) -> bool:
    """Return whether a config's optimizer wrapper computes in mixed precision."""
    return type_name(cfg.optim_wrapper.get('type')) in _AUTOCAST


def why_not(cfg: Config, processes: int) -> str:
    """Return why a config's strategy would refuse to train by it; nothing if it would not.

    Args:
        cfg (Config): A whole config.
        processes (int): How many processes there are.

    Raises:
        UserError: The processes cannot be divided as the strategy says.
    """
    kind, settings = strategy_of(cfg)
    if kind == 'fsdp2':
        check_groups(settings, processes)
    try:
        check_run(cfg)
        if type_name(cfg.get('runner_type')) == 'FlexibleRunner':
            launcher = 'none' if processes == 1 else 'pytorch'
            with_runner_keys(choose_strategy(cfg.get('strategy'), launcher, cfg), cfg)
        if kind == 'fsdp2':
            fsdp2.check_run(run_of_config(cfg, processes), settings)
        elif kind in ('zero1', 'zero2', 'zero3'):
            deepspeed.check_run(run_of_config(cfg, processes), settings)
    except UserError as error:
        return str(error)
    return ''


def why_not_built(cfg: Config, scalars: Sequence[str]) -> str:
    """Return why a config's strategy would refuse its model; nothing if it would not.

    Args:
        cfg (Config): A whole config.
        scalars (Sequence[str]): The parameters of the model that are trained and have no
            dimensions.
    """
    try:
        if strategy_of(cfg)[0] == 'fsdp2':
            fsdp2.check_flat_decay(cfg, scalars)
    except UserError as error:
        return str(error)
    return ''
