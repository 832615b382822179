"""What there is of a run: its model, loops, checkpoint and averages, whatever surrounds them.

MMEngine's runners and optimizer wrappers keep much of that to themselves. What is known of their
insides stands here, so that a new release of MMEngine is a matter of this file.
"""

import os.path as osp
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import SimpleNamespace
from typing import Any

from mmengine.config import Config
from mmengine.hooks import CheckpointHook, EMAHook, Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.runner import BaseLoop, Runner, find_latest_checkpoint
from torch import nn

from .errors import UserError

# The model and its averages.


def unwrap(model: nn.Module) -> nn.Module:
    """Return the model that computes, which has the names that a config and a checkpoint use.

    Args:
        model (nn.Module): The model of a run, or a copy of it: itself, or inside any number of
            wrappers for several processes, of a model that averages over augmented images, and of
            what ``torch.compile`` returns, in whatever order.
    """
    inner: Any = model
    while True:
        if is_model_wrapper(inner) or isinstance(inner, BaseTTAModel):
            inner = inner.module
        elif hasattr(inner, '_orig_mod'):
            inner = inner._orig_mod
        else:
            return inner


def checkpoint_hooks(hooks: Iterable[Hook]) -> list[CheckpointHook]:
    """Return the hooks that write checkpoints.

    Args:
        hooks (Iterable[Hook]): Those of a runner, or some of them.

    Returns:
        list[CheckpointHook]: Most runs have one.
    """
    return [hook for hook in hooks if isinstance(hook, CheckpointHook)]


def averaging_hooks(hooks: Iterable[Hook]) -> list[EMAHook]:
    """Return the hooks that keep a moving average of the model.

    Args:
        hooks (Iterable[Hook]): Those of a runner, or some of them.
    """
    return [hook for hook in hooks if isinstance(hook, EMAHook)]


def averaged_models(runner) -> list[nn.Module]:
    """Return the copies of the model that are moving averages, not wrapped.

    Args:
        runner (Runner): A runner whose hooks' ``before_run`` have been called.
    """
    return [unwrap(hook.ema_model.module) for hook in averaging_hooks(runner.hooks)]


# What a run is going to do.


def built_loop(runner, name: str) -> BaseLoop | None:
    """Return a loop of a runner, None where there is none or it is not going to run.

    A runner builds the loops that it runs, when it begins; until then it has their configs.

    Args:
        runner (Runner): The runner.
        name (str): ``'train'``, ``'val'`` or ``'test'``.
    """
    loop = getattr(runner, f'_{name}_loop')
    return loop if isinstance(loop, BaseLoop) else None


def trains(runner) -> bool:
    """Return whether a run that has begun is a training."""
    return built_loop(runner, 'train') is not None


def compiles(runner) -> bool:
    """Return whether a runner's config asks for ``torch.compile``."""
    asked = runner.cfg.get('compile', False)
    return not asked.get('disable', False) if isinstance(asked, dict) else bool(asked)


def resumes(runner) -> bool:
    """Return whether a run goes on from a checkpoint, or starts anew where there is none."""
    return bool(runner._resume)


def checkpoint_to_load(runner) -> str | None:
    """Return the path or URL that a runner is going to load, None if there is none.

    Args:
        runner (Runner): A runner that has not loaded anything yet.

    Raises:
        UserError: Its work directory names a checkpoint that is not there.
    """
    if isinstance(runner._resume, str):
        return runner._resume
    if not runner._resume or runner._load_from is not None:
        return runner._load_from
    path = find_latest_checkpoint(runner.work_dir)
    if path is not None and '://' not in path and not osp.exists(path):
        raise UserError(
            f'{osp.join(runner.work_dir, "last_checkpoint")} names {path!r}, which is '
            'not there; say --resume FILE'
        )
    return path


def planned_run(cfg: Config) -> SimpleNamespace:
    """Return what can be asked here about a checkpoint before there is a runner.

    Args:
        cfg (Config): The config of a run, its ``work_dir`` and ``load_from`` set.
    """
    return SimpleNamespace(
        cfg=cfg,
        work_dir=cfg.work_dir,
        _load_from=cfg.get('load_from'),
        _resume=cfg.get('resume', False),
    )


# What can be changed of it.


def register_in_before_run(runner, hook: Hook) -> None:
    """Register a hook from the ``before_run`` of another one, and call its own.

    A runner calls its hooks while it iterates over their list. One that is inserted before the
    present one would not be called, and the present one twice; so the list that is iterated over
    is left as it is.

    Args:
        runner (Runner): A runner that is calling ``before_run``.
        hook (Hook): The hook; where its priority puts it decides for all later calls.
    """
    runner._hooks = [*runner._hooks]
    runner.register_hook(hook)
    hook.before_run(runner)


@contextmanager
def without_averages(runner) -> Iterator[None]:
    """Put the hooks that keep a moving average of the model aside, while this lasts.

    Args:
        runner (Runner): A runner that is about to evaluate another model than its own.

    Yields:
        None: Nothing.
    """
    hooks = runner._hooks
    averages = averaging_hooks(hooks)
    runner._hooks = [hook for hook in hooks if hook not in averages]
    try:
        yield
    finally:
        runner._hooks = hooks


def initialize_within(runner: Runner, context: AbstractContextManager) -> None:
    """Have a stock runner initialize its model while a context is entered.

    Args:
        runner (Runner): A runner that has not done it yet.
        context (AbstractContextManager): What is entered then, once.
    """
    initialize = runner._init_model_weights

    def init_model_weights() -> None:
        del runner._init_model_weights
        with context:
            initialize()

    runner._init_model_weights = init_model_weights


def randomness_settings(runner) -> dict:
    """Return the arguments of ``runner.set_randomness`` that a runner was built with."""
    return dict(runner._randomness_cfg)


def rebuild_train_loop(runner) -> None:
    """Build the train loop anew from the config, with data loader and sampler."""
    runner._train_loop = runner.build_train_loop(runner.cfg.train_cfg)


# Its optimizer.


def optim_wrappers(wrapper) -> list[OptimWrapper]:
    """Return the optimizer wrappers in one that may be a dict of several."""
    return [*getattr(wrapper, 'optim_wrappers', {'': wrapper}).values()]


def accumulative_counts(wrapper: OptimWrapper) -> int:
    """Return of how many iterations an optimizer makes a step; 1 of a dict of several."""
    return getattr(wrapper, '_accumulative_counts', 1)


def is_inside_accumulation(wrapper) -> bool:
    """Return whether there are gradients that no step has been made with yet."""
    return any(w._inner_count % w._accumulative_counts for w in optim_wrappers(wrapper))
