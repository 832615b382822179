"""What a strategy is asked to do, as a config says it or as its runner has built it.

What a strategy refuses is told from it, before there is a runner and once there is one.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from ..type_names import type_name

# What a runner adds to a config that does not say `default_hooks.checkpoint`.
_CHECKPOINT = dict(type='CheckpointHook', interval=1)


class UsedHook(NamedTuple):
    """A hook of a run.

    Args:
        name (str): The name of its class.
        cls (type, optional): Its class; None of one that is registered elsewhere.
        settings (Mapping): Its arguments, or its attributes, by name.
    """

    name: str
    cls: type | None
    settings: Mapping

    def is_a(self, cls: type) -> bool:
        """Return whether it is of a class or one that inherits it."""
        return self.cls is not None and issubclass(self.cls, cls)


class AskedRun(NamedTuple):
    """A run.

    Args:
        cfg (Mapping): Its config. An evaluation has no ``optim_wrapper``.
        hooks (list[UsedHook]): Its hooks.
        processes (int): How many processes there are.
        lengths (Mapping[str, int]): ``epoch_length`` and ``max_iters``, in iterations, as far as
            they are known.
    """

    cfg: Mapping
    hooks: list[UsedHook]
    processes: int
    lengths: Mapping[str, int]

    @property
    def trains(self) -> bool:
        """bool: Whether it is a training."""
        return self.cfg.get('optim_wrapper') is not None


def run_of_config(cfg: Mapping, processes: int) -> AskedRun:
    """Return the training that a config asks for.

    Args:
        cfg (Config): A whole config.
        processes (int): How many processes there are.
    """
    return AskedRun(cfg, hooks_of_config(cfg), processes, lengths_of_config(cfg))


def lengths_of_config(cfg: Mapping) -> dict[str, int]:
    """Return ``max_iters`` where a config says it; how long an epoch is, it never says."""
    iters = (cfg.get('train_cfg') or {}).get('max_iters')
    return {} if iters is None else dict(max_iters=iters)


def hooks_of_run(hooks: Iterable[Hook]) -> list[UsedHook]:
    """Return the hooks that a runner has.

    Args:
        hooks (Iterable[Hook]): They themselves.
    """
    return [UsedHook(type(hook).__name__, type(hook), vars(hook)) for hook in hooks]


def hooks_of_config(cfg: Mapping) -> list[UsedHook]:
    """Return the hooks that a config names, in ``default_hooks`` and ``custom_hooks``.

    Args:
        cfg (Config): A whole config.
    """
    defaults = dict(dict(checkpoint=_CHECKPOINT), **(cfg.get('default_hooks') or {}))
    found = []
    for hook in (*defaults.values(), *(cfg.get('custom_hooks') or [])):
        if isinstance(hook, Hook):
            found += hooks_of_run([hook])
        elif hook is not None:
            kind = hook.get('type')
            cls = HOOKS.get(kind) if isinstance(kind, str) else kind
            found.append(UsedHook(type_name(kind), cls if isinstance(cls, type) else None, hook))
    return found
