"""How long a run lasts, and everything in a stock config that follows from it."""

from collections.abc import Callable
from typing import Any

from mmengine.config import Config, ConfigDict

from ..type_names import type_name


def set_epochs(cfg: Config, epochs: int) -> list[str]:
    """Let a config train for a number of epochs, validated after each.

    What the stock config says for its own length is brought to the new one: hooks that switch
    transforms or losses keep their share of the run, and a run counted in iterations becomes one of
    epochs, with all that counts with it.

    Args:
        cfg (Config): A whole config; changed in place.
        epochs (int): How many, at least 1.

    Returns:
        list[str]: What was changed, in words.
    """
    loop = cfg.get('train_cfg') or {}
    by_iteration = 'max_iters' in loop
    before = loop.get('max_iters' if by_iteration else 'max_epochs')
    cfg.train_cfg = ConfigDict(type='EpochBasedTrainLoop', max_epochs=epochs, val_interval=1)
    said = [f'train_cfg.max_epochs = {epochs}']
    if by_iteration:
        said += _count_epochs(cfg)
    elif loop.get('dynamic_intervals'):
        said.append('validated after each: no dynamic_intervals')
    if before:
        hooks = [_scaled(hook, before, epochs, said) for hook in cfg.get('custom_hooks') or []]
        if hooks:
            cfg.custom_hooks = hooks
    return said


def _count_epochs(cfg: Config) -> list[str]:
    """Bring what counts iterations to epochs."""
    sampler = cfg.train_dataloader.get('sampler') or {}
    if 'Infinite' in type_name(sampler.get('type')):
        cfg.train_dataloader.sampler = ConfigDict(type='DefaultSampler', shuffle=True)
    log = cfg.get('log_processor') or {}
    cfg.log_processor = ConfigDict({**log, 'by_epoch': True})
    hooks = cfg.get('default_hooks') or ConfigDict()
    if 'log_metric_by_epoch' in (hooks.get('logger') or {}):
        hooks.logger.log_metric_by_epoch = True
    cfg.default_hooks = hooks
    return ['epochs instead of iterations: sampler, log and checkpoints too']


def _last_share(value: int, before: int, epochs: int) -> int:
    """An epoch at which the last part of a run begins: the same share, at least the last epoch."""
    return epochs - max(1, round(epochs * (before - value) / before))


def _first_share(value: int, before: int, epochs: int) -> int:
    return min(epochs, round(epochs * value / before))


def _keys_share(value: dict, before: int, epochs: int) -> dict:
    return {_first_share(key, before, epochs): one for key, one in value.items()}


def _actions_share(value: list, before: int, epochs: int) -> list:
    """Actions by epoch, counted from 1; of those that fall into one epoch the last stays."""
    scaled = {
        max(1, _first_share(one['action_epoch'], before, epochs)): one
        for one in value
        if one.get('action_epoch')
    }
    others = [one for one in value if not one.get('action_epoch')]
    return [*others, *(dict(one, action_epoch=epoch) for epoch, one in scaled.items())]


_SCALED: dict[str, tuple[str, Callable[[Any, int, int], Any]]] = {
    'PipelineSwitchHook': ('switch_epoch', _last_share),
    'YOLOXModeSwitchHook': ('num_last_epochs', _first_share),
    'YOLOXPoseModeSwitchHook': ('num_last_epochs', _first_share),
    'RTMOModeSwitchHook': ('epoch_attributes', _keys_share),
    'SwitchRecipeHook': ('schedule', _actions_share),
    'EMAHook': ('begin_epoch', _first_share),
}


def _scaled(hook, before: int, epochs: int, said: list[str]):
    name = type_name(hook.get('type')) if isinstance(hook, dict) else ''
    key, share = _SCALED.get(name, ('', None))
    if share is None or hook.get(key) is None:
        return hook
    value = share(hook[key], before, epochs)
    if value != hook[key] and not isinstance(value, list):
        said.append(f'{name}.{key} {hook[key]} -> {value}')
    return ConfigDict(hook, **{key: value})
