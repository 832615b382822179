"""Top-level keys that the stock ``Runner`` reads of a config, where they mean a strategy's."""

from collections.abc import Mapping

from mmengine.registry import STRATEGIES

from ..errors import UserError
from .ddp import DDPStrategy
from .deepspeed import DeepSpeedStrategy
from .fsdp2 import FSDP2Strategy
from .lifecycle import AdaptingStrategy

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
    kind = strategy.get('type') if isinstance(strategy, Mapping) else None
    cls = STRATEGIES.get(kind) if isinstance(kind, str) else kind
    if cls is None or not issubclass(cls, AdaptingStrategy):
        return strategy
    if cfg.get('efficient_conv_bn_eval'):
        raise UserError("efficient_conv_bn_eval: FlexibleRunner has none; remove it, or train with "
                        "runner_type='Runner'")
    if not issubclass(cls, DDPStrategy):
        return strategy  # with one process there is nothing to synchronise
    found = {}
    if cfg.get('sync_bn') is not None:
        found['sync_bn'] = cfg['sync_bn']
    asked = [key for key in _WRAPPER if cfg.get(key)]
    if asked and issubclass(cls, (FSDP2Strategy, DeepSpeedStrategy)):
        raise UserError(f'{asked[0]}: {cls.__name__} has no such wrapper, and needs every process '
                        'to use the same weights in an iteration; remove it, or train with '
                        'mmadapt.DDPStrategy')
    if asked:
        wrapper = dict(broadcast_buffers=False, find_unused_parameters=bool(
            cfg.get('find_unused_parameters'))) | dict(cfg.get('model_wrapper_cfg') or {})
        if 'peft' in wrapper:
            raise UserError('model_wrapper_cfg.peft is for the stock Runner; under FlexibleRunner '
                            'write peft at the top of the config, with PEFTInjectHook')
        found['model_wrapper'] = dict(dict(type='MMDistributedDataParallel'), **wrapper)
    return found | dict(strategy)
