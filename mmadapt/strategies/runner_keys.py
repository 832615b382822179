"""Top-level keys that the stock ``Runner`` reads of a config, where they mean a strategy's."""

import inspect
from collections.abc import Mapping
from typing import Any

from mmengine.registry import STRATEGIES

from ..errors import UserError
from ..values import check_keys, check_one_of
from .ddp import DDPStrategy
from .deepspeed import DeepSpeedStrategy
from .fsdp2 import FSDP2Strategy
from .lifecycle import AdaptingStrategy
from .refusals import WRAPPER_KEYS
from .registry import STRATEGIES as OURS
from .single_device import SingleDeviceStrategy


def with_runner_keys(strategy, cfg: Mapping):
    """Return the config of a strategy with what the stock ``Runner`` would read elsewhere.

    MMEngine's FlexibleRunner drops these keys without a word. What is no config of one of our
    strategies is returned as it is.

    Args:
        strategy (dict or BaseStrategy): The config of a strategy, or one that has been built.
        cfg (Mapping): The whole config.

    Raises:
        UserError: The strategy cannot do what a key asks for.
    """
    cls = _class_of(strategy) if isinstance(strategy, Mapping) else None
    if cls is None or not issubclass(cls, AdaptingStrategy):
        return strategy
    _check_arguments(strategy, cls)
    if cfg.get('efficient_conv_bn_eval'):
        raise UserError(
            'efficient_conv_bn_eval: FlexibleRunner has none; remove it, or train with '
            "runner_type='Runner'"
        )
    if not issubclass(cls, DDPStrategy):
        return strategy  # with one process there is nothing to synchronize
    found = {}
    if cfg.get('sync_bn') is not None:
        found['sync_bn'] = cfg['sync_bn']
    refuses = issubclass(cls, (FSDP2Strategy, DeepSpeedStrategy))
    if not refuses and any(cfg.get(key) for key in WRAPPER_KEYS):
        wrapper = dict(
            broadcast_buffers=False, find_unused_parameters=bool(cfg.get('find_unused_parameters'))
        ) | dict(cfg.get('model_wrapper_cfg') or {})
        if 'peft' in wrapper:
            raise UserError(
                'model_wrapper_cfg.peft is for the stock Runner; under FlexibleRunner '
                'write peft at the top of the config, with PEFTInjectHook'
            )
        found['model_wrapper'] = dict(dict(type='MMDistributedDataParallel'), **wrapper)
    return found | dict(strategy)


def _class_of(strategy: Mapping) -> type:
    kind = strategy.get('type')
    cls: Any = STRATEGIES.get(kind) if isinstance(kind, str) else kind
    if cls is None:
        names = [*(f'mmadapt.{name}' for name in OURS.module_dict), *STRATEGIES.module_dict]
        check_one_of('strategy.type', kind, names)
    return cls


def _check_arguments(strategy: Mapping, cls: type) -> None:
    if cls not in (SingleDeviceStrategy, DDPStrategy):
        return  # which see to it themselves
    kinds = [vars(c)['__init__'] for c in cls.__mro__ if '__init__' in vars(c)]
    known = {
        name
        for kind in kinds
        for name, p in inspect.signature(kind).parameters.items()
        if p.kind is p.KEYWORD_ONLY
    }
    arguments = {name: value for name, value in strategy.items() if name != 'type'}
    check_keys('strategy', arguments, sorted(known), owner=f' under {cls.__name__}')
