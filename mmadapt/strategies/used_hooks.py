"""The hooks of a run, as its config names them or as its runner has built them.

What a strategy refuses is told from them, before there is a runner and once there is one.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from mmengine.hooks import Hook
from mmengine.registry import HOOKS


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
    found = []
    for hook in (*(cfg.get('default_hooks') or {}).values(), *(cfg.get('custom_hooks') or [])):
        if isinstance(hook, Hook):
            found += hooks_of_run([hook])
        elif hook is not None:
            kind = hook.get('type')
            name = getattr(kind, '__name__', str(kind)).rpartition('.')[2]
            cls = HOOKS.get(name) if isinstance(kind, str) else kind
            found.append(UsedHook(name, cls if isinstance(cls, type) else None, hook))
    return found
