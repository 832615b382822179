"""Resuming as if training had never stopped.

MMEngine's checkpoints hold neither the state of the random generators nor gradients that have been
accumulated and not yet applied, nor what a model keeps in attributes that are no tensors of its
state dict, nor, of one written inside an epoch, where in it that was. The first three differ
between the processes of a distributed run.
"""

import logging
from contextlib import nullcontext

from mmengine.dist import gather_object, get_rank, get_world_size
from mmengine.hooks import EarlyStoppingHook, Hook, IterTimerHook
from mmengine.logging import print_log
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner

from ..optim.resumed import drop_functions
from ..random_state import get_random_state, set_random_state
from ..runs import (
    checkpoint_hooks,
    is_inside_accumulation,
    register_in_before_run,
    resumes,
    trains,
    unwrap,
)
from ..strategies import AdaptingStrategy
from .model_attributes import ModelAttributes, set_attributes
from .resume_data import drop_batches, inexact_because, use_seed

_KEY = 'rank_states'


@HOOKS.register_module()
class RandomStateHook(Hook):
    """Keep each process's random state, pending gradients and model attributes in the checkpoints.

    A checkpoint from inside an epoch also has the state at the beginning of the epoch. A resumed
    run begins the epoch with it, draws the batches that were trained on and drops them, and goes on
    with the state of the moment of saving.

    Validation, which a resumed run may skip, draws random numbers too; they are taken back, so that
    training does not depend on it. PEFTInjectHook, MemoryHook, our strategies and our training tool
    bring one along.
    """

    # What it restores, the hooks of an epoch's beginning find.
    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._states: list | None = None
        self._resumed: dict | None = None
        self.epoch_begin: dict | None = None
        self._before_val: dict = {}
        self._attributes: ModelAttributes | None = None
        self._saved_attributes: list | None = None
        self._said = False

    def before_val(self, runner) -> None:
        """Remember the random state; a new best writes the latest checkpoint once more."""
        self._before_val = get_random_state()
        if trains(runner) and any(h.save_best for h in checkpoint_hooks(runner.hooks)):
            self.gather(runner)

    def after_val(self, runner) -> None:
        """Take back what validation drew."""
        set_random_state(self._before_val)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Write the states of all processes, where there is an optimizer to resume."""
        if self._states is not None and 'optimizer' in checkpoint:
            checkpoint[_KEY] = self._states
        drop_functions(checkpoint)

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Take this process's state out of the checkpoint of a resumed run."""
        states = checkpoint.pop(_KEY, None)
        if not resumes(runner):
            return
        use_seed(runner, checkpoint.get('meta', {}).get('seed'))
        if states:
            self._saved_attributes = states[get_rank() % len(states)].get('attributes')
        if states is None or len(states) != get_world_size():
            print_log(
                f'the checkpoint holds the random states of {len(states or [])} processes, '
                f'this run has {get_world_size()}: it does not continue exactly as one that '
                'was never stopped',
                'current',
                logging.WARNING,
            )
            return
        self._resumed = states[get_rank()]

    def before_train(self, runner) -> None:
        """Say what keeps a resumed run from being exact."""
        if not any(isinstance(hook, _GatherHook) for hook in runner.hooks):
            runner.register_hook(_GatherHook(self))
        reason = None if self._resumed is None else inexact_because(runner.train_loop)
        if reason is not None:
            print_log(reason, 'current', logging.WARNING)
        counts = any(isinstance(hook, EarlyStoppingHook) for hook in runner.hooks)
        if self._resumed is not None and counts:
            # A checkpoint is written before the validation that it counts.
            print_log(
                'EarlyStoppingHook begins to count anew: how long it has waited, and for '
                'what, is in no checkpoint',
                'current',
                logging.WARNING,
            )

    def before_train_epoch(self, runner) -> None:
        """Restore the state; the iterator of the data loader draws from it next."""
        if self._attributes is None:  # all that changes a model before it is trained is done
            self._attributes = ModelAttributes(unwrap(runner.model))
        if self._resumed is not None:
            self._resume(runner, self._resumed)
        else:
            self._restore_attributes(runner)
        self.epoch_begin = get_random_state()

    def gather(self, runner, **where) -> None:
        """Have the states of all processes ready for the next checkpoint; to be called by all.

        Args:
            runner (Runner): The runner, between two steps.
            where: What says where in its epoch that is.
        """
        state = {**get_random_state(), **where}
        if self._attributes is not None:
            state['attributes'], too_large = self._attributes.changed()
            if too_large and not self._said:
                print_log(
                    f'{too_large} of the model are too large for every checkpoint: a resumed '
                    'run begins without them, which matters if a step reads what the last '
                    'one left',
                    'current',
                )
                self._said = True
        if is_inside_accumulation(runner.optim_wrapper):
            with _parameters(runner) as parameters:
                state['gradients'] = {
                    name: p.grad.detach().cpu().clone()
                    for name, p in parameters.items()
                    if p.grad is not None
                }
        self._states = gather_object(state)

    def _resume(self, runner, resumed: dict) -> None:
        if isinstance(runner.train_loop, IterBasedTrainLoop):
            drop_batches(runner.train_loop, runner.iter, lambda: self._restore(runner, resumed))
            return
        count, length = resumed.get('batches'), len(runner.train_dataloader)
        if not count:
            self._restore(runner, resumed)
        elif resumed['batches_of_epoch'] != length:
            print_log(
                f'the epoch had {resumed["batches_of_epoch"]} batches when the '
                f'checkpoint was written and has {length} now: it begins again',
                'current',
                logging.WARNING,
            )
            self._restore(runner, resumed)
        else:
            print_log(
                f'resuming inside epoch {runner.epoch + 1}: the first {count} of its '
                f'{length} batches, trained on already, are loaded and dropped',
                'current',
            )
            set_random_state(resumed['epoch_begin'])
            drop_batches(runner.train_loop, count, lambda: self._restore(runner, resumed))

    def _restore(self, runner, resumed: dict) -> None:
        set_random_state(resumed)
        gradients = resumed.get('gradients')
        if gradients is not None:
            with _parameters(runner) as parameters:
                for name, gradient in gradients.items():
                    parameters[name].grad = gradient.to(parameters[name].device)
        self._restore_attributes(runner)
        for hook in runner.hooks:
            if isinstance(hook, IterTimerHook):
                hook.before_train_epoch(runner)  # the estimate of the time left begins here
        self._resumed = None

    def _restore_attributes(self, runner) -> None:
        if not self._saved_attributes:
            return
        homeless = set_attributes(unwrap(runner.model), self._saved_attributes)
        self._saved_attributes = None
        if homeless:
            print_log(
                f'the checkpoint holds values of {homeless}, which this model does not have',
                'current',
                logging.WARNING,
            )


def add_random_state_hook(runner) -> None:
    """Register a RandomStateHook where there is none.

    Args:
        runner (Runner): A runner that has not begun to train, or in its hooks' ``before_run``. One
            with a strategy of MMEngine's, which may hold parts of the model only, is left as it is.
    """
    can = isinstance(runner, Runner) or isinstance(
        getattr(runner, 'strategy', None), AdaptingStrategy
    )
    if can and not any(isinstance(hook, RandomStateHook) for hook in runner.hooks):
        register_in_before_run(runner, RandomStateHook())


class _GatherHook(Hook):
    """Gather the states where a checkpoint is about to be written and all other hooks have acted.

    On every rank: saving is the first rank's business alone.
    """

    # Right before CheckpointHook, which is VERY_LOW.
    priority = 89

    def __init__(self, states: RandomStateHook) -> None:
        self._states = states

    def after_train_epoch(self, runner) -> None:
        """Gather them at the end of an epoch."""
        if any(h.by_epoch for h in checkpoint_hooks(runner.hooks)):
            self._states.gather(runner)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Gather them inside an epoch, with where that is."""
        if any(
            not h.by_epoch
            and (
                self.every_n_train_iters(runner, h.interval, h.save_begin)
                or self.is_last_train_iter(runner)
            )
            for h in checkpoint_hooks(runner.hooks)
        ):
            inside = isinstance(runner.train_loop, EpochBasedTrainLoop)
            self._states.gather(
                runner,
                **(
                    dict(
                        epoch_begin=self._states.epoch_begin,
                        batches=batch_idx + 1,
                        batches_of_epoch=len(runner.train_dataloader),
                    )
                    if inside
                    else {}
                ),
            )


def _parameters(runner):
    strategy = getattr(runner, 'strategy', None)
    if isinstance(strategy, AdaptingStrategy):
        return strategy.accumulated_gradients()
    return nullcontext(
        {n: p for n, p in unwrap(runner.model).named_parameters() if p.requires_grad}
    )
