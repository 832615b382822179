"""Top-level keys that the stock ``Runner`` reads of a config, where they mean a strategy's."""

import inspect
from collections.abc import Mapping
from difflib import get_close_matches

from mmengine.registry import STRATEGIES

from ..errors import UserError
from .ddp import DDPStrategy
from .deepspeed import DeepSpeedStrategy
from .fsdp2 import FSDP2Strategy
from .lifecycle import AdaptingStrategy
from .registry import STRATEGIES as OURS
from .single_device import SingleDeviceStrategy

_WRAPPER = ('model_wrapper_cfg', 'find_unused_parameters')


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
    asked = [key for key in _WRAPPER if cfg.get(key)]
    if asked and issubclass(cls, (FSDP2Strategy, DeepSpeedStrategy)):
        raise UserError(
            f'{asked[0]}: {cls.__name__} has no such wrapper, and needs every process '
            'to use the same weights in an iteration; remove it, or train with '
            'mmadapt.DDPStrategy'
        )
    if asked:
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
    cls = STRATEGIES.get(kind) if isinstance(kind, str) else kind
    if cls is None:
        names = [*(f'mmadapt.{name}' for name in OURS.module_dict), *STRATEGIES.module_dict]
        near = get_close_matches(str(kind), names, n=1, cutoff=0.0)
        raise UserError(f'strategy.type={kind!r} is none; nearest: {near[0]!r}, all: {names}')
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
    for name in strategy:
        if name != 'type' and name not in known:
            near = get_close_matches(name, sorted(known), n=1, cutoff=0.0)
            raise UserError(
                f'{cls.__name__} has no {name!r}: nearest: {near[0]!r}, all: {sorted(known)}'
            )
