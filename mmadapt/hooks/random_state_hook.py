"""Resuming as if training had never stopped.

MMEngine's checkpoints hold neither the state of the random generators nor gradients that have been
accumulated and not yet applied. Both differ between the processes of a distributed run.
"""

import logging
import random

import numpy as np
import torch
from mmengine.dist import gather_object, get_rank, get_world_size
from mmengine.hooks import CheckpointHook, Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import BaseLoop, EpochBasedTrainLoop

_KEY = 'rank_states'


@HOOKS.register_module()
class RandomStateHook(Hook):
    """Keep each process's random state and pending gradients in the checkpoints.

    Validation, which a resumed run may skip, draws random numbers too; they are taken back, so that
    training does not depend on it. Registered by
    :class:`~mmadapt.hooks.inject_hook.PEFTInjectHook`.
    """

    # Before CheckpointHook, on every rank: saving is the first rank's business alone.
    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._states: list | None = None
        self._resumed: dict | None = None
        self._before_val: dict | None = None

    def before_val(self, runner) -> None:
        """Remember the random state; a new best writes the latest checkpoint once more."""
        self._before_val = _get_random_state()
        if isinstance(runner._train_loop, BaseLoop) and any(
                h.save_best for h in _checkpoint_hooks(runner)):
            self._gather(runner)

    def after_val(self, runner) -> None:
        """Take back what validation drew."""
        _set_random_state(self._before_val)

    def after_train_epoch(self, runner) -> None:
        """Gather the states if a checkpoint is about to be written."""
        if any(h.by_epoch for h in _checkpoint_hooks(runner)):
            self._gather(runner)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Gather the states if a checkpoint is about to be written."""
        if any(not h.by_epoch and (
                self.every_n_train_iters(runner, h.interval, h.save_begin)
                or self.is_last_train_iter(runner)) for h in _checkpoint_hooks(runner)):
            self._gather(runner)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Write the states of all processes, where there is an optimiser to resume."""
        if self._states is not None and 'optimizer' in checkpoint:
            checkpoint[_KEY] = self._states

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Take this process's state out of the checkpoint of a resumed run."""
        states = checkpoint.pop(_KEY, None)
        if not runner._resume:
            return
        if states is None or len(states) != get_world_size():
            print_log(f'the checkpoint holds the random states of {len(states or [])} processes, '
                      f'this run has {get_world_size()}: it does not continue exactly as one that '
                      'was never stopped', 'current', logging.WARNING)
            return
        self._resumed = states[get_rank()]

    def before_train(self, runner) -> None:
        """Say what keeps a resumed run from being exact."""
        if self._resumed is not None and runner.train_dataloader.persistent_workers:
            print_log('train_dataloader.persistent_workers=True: the random state of worker '
                      'processes is in no checkpoint, so the resumed run sees other augmentations',
                      'current', logging.WARNING)

    def before_train_epoch(self, runner) -> None:
        """Restore the state; the iterator of the data loader draws from it next."""
        if self._resumed is not None and isinstance(runner.train_loop, EpochBasedTrainLoop):
            self._restore(runner, _set_random_state)

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        """Restore the state where a loop by iterations has caught up with its data.

        It has replayed the augmentations of all iterations before, which bring Python's and numpy's
        generators to where they were; only torch's has been used by the model too.
        """
        if self._resumed is not None:
            self._restore(runner, _set_torch_state)

    def _gather(self, runner) -> None:
        state = _get_random_state()
        wrappers = getattr(runner.optim_wrapper, 'optim_wrappers', {'': runner.optim_wrapper})
        if any(w._inner_count % w._accumulative_counts for w in wrappers.values()):
            state['gradients'] = {name: p.grad.detach().cpu().clone()
                                  for name, p in _parameters(runner) if p.grad is not None}
        self._states = gather_object(state)

    def _restore(self, runner, set_state) -> None:
        set_state(self._resumed)
        gradients = self._resumed.get('gradients', {})
        for name, parameter in _parameters(runner):
            if name in gradients:
                parameter.grad = gradients[name].to(parameter.device)
        self._resumed = None


def _checkpoint_hooks(runner) -> list:
    return [hook for hook in runner.hooks if isinstance(hook, CheckpointHook)]


def _parameters(runner):
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    return [(name, p) for name, p in model.named_parameters() if p.requires_grad]


def _get_random_state() -> dict:
    kind, keys, *rest = np.random.get_state()
    state = dict(python=random.getstate(), torch=torch.get_rng_state(),
                 numpy=(kind, torch.from_numpy(keys.astype(np.int64)), *rest))
    if torch.cuda.is_available():
        state['cuda'] = torch.cuda.get_rng_state()
    return state


def _set_torch_state(state: dict) -> None:
    torch.set_rng_state(state['torch'].cpu())
    if 'cuda' in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'].cpu())


def _set_random_state(state: dict) -> None:
    _set_torch_state(state)
    version, keys, gauss = state['python']
    random.setstate((version, tuple(keys), gauss))
    kind, keys, *rest = state['numpy']
    np.random.set_state((kind, keys.cpu().numpy().astype(np.uint32), *rest))
