"""The schedules that Hugging Face's Trainer knows by name, for MMEngine's runners."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from mmengine.optim import _ParamScheduler
from mmengine.optim.scheduler.param_scheduler import INF
from mmengine.registry import PARAM_SCHEDULERS

from ..errors import UserError
from ..values import check_count, check_keys, check_number, check_one_of


@dataclass(frozen=True)
class Schedule:
    """A rate by step, as a share of the one that the optimizer has.

    Args:
        warmup (int): Over how many steps the rate first rises from 0 along a line.
    """

    warmup: int = 0

    def share(self, step: int, length: int) -> float:
        """Return the share at a step of a run.

        Args:
            step (int): The step, from 0.
            length (int): How many steps the run has.
        """
        if step < self.warmup:
            return step / self.warmup
        return self.behind(step, length)

    def behind(self, step: int, length: int) -> float:
        """Return the share at a step that lies behind the warm-up."""
        return 1.0

    def progress(self, step: int, length: int) -> float:
        """Return how much of the run behind the warm-up is over, from 0 to 1."""
        return (step - self.warmup) / max(1, length - self.warmup)


@dataclass(frozen=True)
class Constant(Schedule):
    """The rate as it is, without a warm-up."""

    def share(self, step: int, length: int) -> float:
        """Return the share at a step of a run."""
        return 1.0


@dataclass(frozen=True)
class Linear(Schedule):
    """Along a line to 0 at the end of the run."""

    def behind(self, step: int, length: int) -> float:
        """Return the share at a step that lies behind the warm-up."""
        return max(0.0, 1 - self.progress(step, length))


@dataclass(frozen=True)
class Cosine(Schedule):
    """Along a cosine to a least rate.

    Args:
        num_cycles (float): How many waves there are; half of one ends at the least rate.
        min_lr_rate (float): The least rate, as a share.
    """

    num_cycles: float = 0.5
    min_lr_rate: float = 0.0

    def behind(self, step: int, length: int) -> float:
        """Return the share at a step that lies behind the warm-up."""
        wave = 0.5 * (1 + math.cos(2 * math.pi * self.num_cycles * self.progress(step, length)))
        return max(0.0, self.min_lr_rate + (1 - self.min_lr_rate) * wave)


@dataclass(frozen=True)
class Restarts(Schedule):
    """Half a cosine several times over.

    Args:
        num_cycles (int): How often.
    """

    num_cycles: int = 1

    def behind(self, step: int, length: int) -> float:
        """Return the share at a step that lies behind the warm-up."""
        progress = self.progress(step, length)
        if progress >= 1:
            return 0.0
        return 0.5 * (1 + math.cos(math.pi * (self.num_cycles * progress % 1)))


@dataclass(frozen=True)
class Polynomial(Schedule):
    """Along a power of what is left of the run.

    Args:
        power (float): The power.
        end_share (float): What the rate ends at, as a share.
    """

    power: float = 1.0
    end_share: float = 0.0

    def behind(self, step: int, length: int) -> float:
        """Return the share at a step that lies behind the warm-up."""
        left = max(0.0, 1 - self.progress(step, length))
        return self.end_share + (1 - self.end_share) * left**self.power


@dataclass(frozen=True)
class InverseSqrt(Schedule):
    """By the inverse square root of the step, whatever the length of the run.

    Args:
        timescale (int): The step at which it would be 1; 0: the warm-up, or 10,000 without one.
    """

    timescale: int = 0

    def behind(self, step: int, length: int) -> float:
        """Return the share at a step that lies behind the warm-up."""
        scale = self.timescale or self.warmup or 10_000
        return (scale / (step - self.warmup + scale)) ** 0.5


@dataclass(frozen=True)
class StableDecay(Schedule):
    """The rate as it is, then down along half a cosine in the last steps.

    Args:
        num_decay_steps (int): The last steps.
        min_lr_ratio (float): What the rate rises from and ends at, as a share.
    """

    num_decay_steps: int = 0
    min_lr_ratio: float = 0.0

    def share(self, step: int, length: int) -> float:
        """Return the share at a step of a run."""
        share = super().share(step, length)
        if step < self.warmup:
            share = self.min_lr_ratio + (1 - self.min_lr_ratio) * share
        return share

    def behind(self, step: int, length: int) -> float:
        """Return the share at a step that lies behind the warm-up."""
        progress = (step - (length - self.num_decay_steps)) / max(1, self.num_decay_steps)
        wave = 0.5 * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))
        return self.min_lr_ratio + (1 - self.min_lr_ratio) * wave


SCHEDULES: dict[str, type[Schedule]] = {
    'constant': Constant,
    'constant_with_warmup': Schedule,
    'linear': Linear,
    'cosine': Cosine,
    'cosine_with_restarts': Restarts,
    'cosine_with_min_lr': Cosine,
    'polynomial': Polynomial,
    'inverse_sqrt': InverseSqrt,
    'warmup_stable_decay': StableDecay,
}
# What Hugging Face's functions take as a rate is a share of it here.
_AS_SHARES = dict(min_lr='min_lr_rate', lr_end='end_share')


def schedule_named(
    name: str, warmup: int, lr: float, options: Mapping[str, Any] | None = None
) -> Schedule:
    """Return a schedule by its name in Hugging Face's ``SchedulerType``.

    Args:
        name (str): One of :data:`SCHEDULES`.
        warmup (int): Steps of warm-up.
        lr (float): The rate, for options that are rates themselves.
        options (Mapping, optional): What its ``lr_scheduler_kwargs`` would have. Defaults to None.

    Raises:
        UserError: There is no such schedule or option, or one is missing.
    """
    where = f'the schedule {name!r}'
    check_one_of('schedule', name, [*SCHEDULES])
    check_count(f'{where}: num_warmup_steps', warmup, least=0)
    kind = SCHEDULES[name]
    own = [field.name for field in fields(kind) if field.name != 'warmup']
    others = [rate for rate, share in _AS_SHARES.items() if share in own]
    options = dict(options or {})
    check_keys(where, options, own + others)
    for rate, share in _AS_SHARES.items():
        if rate in options and share in own:
            check_number(f'{where}: {rate}', options[rate], lambda v: 0 <= v <= lr, f'0 to {lr}')
            options[share] = options.pop(rate) / (lr or 1)
    if name == 'polynomial':
        options.setdefault('end_share', min(1.0, 1e-7 / lr) if lr else 0.0)  # Hugging Face's lr_end
    if name == 'cosine_with_min_lr' and 'min_lr_rate' not in options:
        raise UserError(f'{where} needs its least rate: min_lr=1e-6, or min_lr_rate=0.1')
    if name == 'warmup_stable_decay' and 'num_decay_steps' not in options:
        raise UserError(f'{where} needs num_decay_steps, the steps at the end in which it falls')
    for key, value in options.items():
        check_number(f'{where}: {key}', value, lambda v: v >= 0, 'a number of at least 0')
    return kind(warmup=warmup, **options)


@PARAM_SCHEDULERS.register_module()
class NamedLR(_ParamScheduler):
    """A learning rate by one of the schedules that Hugging Face's Trainer knows by name.

    Step by step the same as ``transformers.get_scheduler``, over the iterations of the run. Needs
    no other scheduler for the warm-up.

    Args:
        optimizer (Optimizer or BaseOptimWrapper): The optimizer.
        schedule (str): ``'linear'``, ``'cosine'``, ``'cosine_with_restarts'``,
            ``'cosine_with_min_lr'``, ``'polynomial'``, ``'constant'``, ``'constant_with_warmup'``,
            ``'inverse_sqrt'`` or ``'warmup_stable_decay'``.
        num_warmup_steps (int): Over how many iterations the rate first rises from 0.
        options (dict, optional): What else the schedule takes, as ``lr_scheduler_kwargs`` of
            Hugging Face's Trainer has it: ``num_cycles``, ``power``, ``lr_end``, ``min_lr``,
            ``min_lr_rate``, ``timescale``, ``num_decay_steps``, ``min_lr_ratio``.
        end (int): The iteration behind the last one; MMEngine sets it to the length of the run.
        **kwargs: ``last_step`` and ``verbose``, as MMEngine's schedulers have them.

    Raises:
        UserError: The schedule, or an option of it, is wrong.
    """

    def __init__(
        self,
        optimizer,
        schedule: str,
        num_warmup_steps: int = 0,
        options: dict | None = None,
        end: int = INF,
        by_epoch: bool = False,
        **kwargs,
    ) -> None:
        if by_epoch:
            raise UserError('NamedLR goes by iterations: write by_epoch=False')
        if end == INF:
            raise UserError('NamedLR has to know the length of the run: end=ITERATIONS')
        # A least rate is one of the optimizer, and the same share of that of every group.
        lr = optimizer.defaults['lr']
        self.formula = schedule_named(schedule, num_warmup_steps, lr, options)
        super().__init__(optimizer, 'lr', end=end, by_epoch=False, **kwargs)

    def state_dict(self) -> dict:
        """Return what a checkpoint holds: numbers, and not the length of the run.

        A resumed run that is to be longer, or shorter, goes by its own.
        """
        left_out = ('formula', 'end')
        return {key: value for key, value in super().state_dict().items() if key not in left_out}

    def _get_value(self) -> list[float]:
        share = self.formula.share(self._global_step, self.end)
        return [value * share for value in self.base_values]
