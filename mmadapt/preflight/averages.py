"""Moving averages that reach far beyond the run whose weights they average."""

from collections.abc import Iterator

import numpy as np

from ..type_names import type_name

# By class name: the argument that names the kind of average, and its default momentum.
_HOOKS = {'EMAHook': 0.0002, 'MeanTeacherHook': 0.001}
# Of the average at the end of a run, what may still be the weights that it began with.
_LIMIT = 0.1


def check_averages(cfg: dict, iters: int, epoch_length: int | None) -> Iterator[str]:
    """Yield a line for each hook whose average would be mostly the weights that a run begins with.

    What is validated, called the best and exported is the average.

    Args:
        cfg (dict or Config): A whole config.
        iters (int): The length of the run, in iterations.
        epoch_length (int, optional): How many of them an epoch has.
    """
    for index, hook in enumerate(cfg.get('custom_hooks') or []):
        if not isinstance(hook, dict):
            continue
        name = type_name(hook.get('type'))
        if name not in _HOOKS:
            continue
        begin = hook.get('begin_iter', 0) or hook.get('begin_epoch', 0) * (epoch_length or 0)
        updates = max(0, (iters - begin) // hook.get('interval', 1))
        momentum = hook.get('momentum', _HOOKS[name])
        share = _share_of_the_start(
            hook.get('ema_type', 'ExponentialMovingAverage'), momentum, hook.get('gamma'), updates
        )
        if share is not None and share > _LIMIT:
            right = f'{min(0.5, 10 / updates):.2g}' if updates else 0.5
            yield (
                f'custom_hooks[{index}] ({name}) averages over {1 / momentum:.0f} updates, the '
                f'run has {updates}: {share:.0%} of the average, which is what is validated and '
                f'exported, are the weights it begins with; --cfg-options '
                f'custom_hooks.{index}.momentum={right}'
            )


def _share_of_the_start(kind, momentum: float, gamma: float | None, updates: int) -> float | None:
    """Return how much of an average is the first value, None for a kind that is not known."""
    kind = type_name(kind)
    steps = np.arange(1, max(1, updates))  # MMEngine's first update copies
    if kind == 'ExponentialMovingAverage':
        momenta = np.full(len(steps), momentum)
    elif kind == 'MomentumAnnealingEMA':
        gamma = 100 if gamma is None else gamma
        momenta = np.maximum(momentum, gamma / (gamma + steps))
    elif kind == 'ExpMomentumEMA':
        momenta = (1 - momentum) * np.exp(-(1 + steps) / (gamma or 2000)) + momentum
    else:
        return None
    return float(np.exp(np.log1p(-np.minimum(momenta, 1 - 1e-12)).sum()))
