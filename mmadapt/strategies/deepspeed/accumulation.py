"""Checkpoints and gradients that no step has been made with yet.

ZeRO-2 and 3 average gradients after every iteration and keep a part of them in each process, which
DeepSpeed neither hands out nor takes. A checkpoint then has to be from where there are none.
"""

from collections.abc import Iterable, Mapping
from math import inf

from mmengine.hooks import CheckpointHook

from ...errors import UserError
from ..asked_run import UsedHook

_STAGE_1 = 'write strategy.zero_optimization=dict(stage=1)'


class Unreachable(dict):
    """Stands for gradients that cannot be set: empty, and says so where one is asked for."""

    def __missing__(self, name: str):
        raise UserError(
            'the checkpoint is from inside an accumulation, and ZeRO-2 and 3 cannot go '
            f'on with its gradients; resume another one, or {_STAGE_1}'
        )


def refuse_inside(count: int) -> None:
    """Refuse to write a checkpoint inside an accumulation.

    Args:
        count (int): Of how many iterations there is a step.

    Raises:
        UserError: Always.
    """
    raise UserError(
        f'a checkpoint inside an accumulation of {count} iterations: ZeRO-2 and 3 cannot write its '
        'gradients; let default_hooks.checkpoint, and with save_best validation too, be at '
        f'multiples of optim_wrapper.accumulative_counts={count}, such as by_epoch=False, '
        f'interval={100 * count}, or {_STAGE_1}'
    )


def check_intervals(hooks: Iterable[UsedHook], lengths: Mapping[str, int], count: int) -> None:
    """Check before training that no checkpoint will be refused while it lasts.

    Args:
        hooks (Iterable[UsedHook]): Those of the run.
        lengths (Mapping[str, int]): ``epoch_length`` and ``max_iters``, in iterations. At the end
            of a run a step is made with what there is. Of what is counted in epochs nothing can be
            said without the first one, and without the second a run is taken to be long enough.
        count (int): Of how many iterations there is a step.

    Raises:
        UserError: One will be.
    """
    for hook in hooks:
        interval = hook.settings.get('interval', -1)
        unit = lengths.get('epoch_length') if hook.settings.get('by_epoch', True) else 1
        if hook.is_a(CheckpointHook) and interval > 0 and unit is not None:
            first = unit * (hook.settings.get('save_begin') or interval)
            second = first + unit * interval
            if any(at % count and at < lengths.get('max_iters', inf) for at in (first, second)):
                refuse_inside(count)
