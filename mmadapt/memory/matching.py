"""Which modules a list of class names, names and regular expressions means."""

import re
from itertools import chain

from torch import nn

from ..errors import UserError
from ..peft.targets import module_names
from ..values import nearest_module

PATTERNS = 'class names, names or regular expressions of modules'


def find_modules(model: nn.Module, patterns: str | list[str], where: str) -> dict[str, nn.Module]:
    """Return the modules that ``patterns`` mean, shared modules once.

    A pattern is the name of a class, which also means its subclasses; or the full name of a module,
    or the end of one (``bbox_head`` is ``roi_head.bbox_head`` too); or else a regular expression
    that a full name matches.

    Args:
        model (nn.Module): The model, not wrapped.
        patterns (str or list[str]): Any of these.
        where (str): The config key they come from, for messages.

    Returns:
        dict[str, nn.Module]: The modules by their first full name, in the order of the model.

    Raises:
        UserError: A pattern means no module.
    """
    names = module_names(model)
    chosen: set[nn.Module] = set()
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        hits = _hits(names, pattern, where)
        if not hits:
            raise UserError(
                f'{where}: {pattern!r} is neither a class nor a name of a module of '
                f'this {type(model).__name__}; nearest: {_nearest(names, pattern)}'
            )
        chosen |= hits
    return {aliases[0]: module for module, aliases in names.items() if module in chosen}


def _hits(names: dict[nn.Module, list[str]], pattern: str, where: str) -> set[nn.Module]:
    if not isinstance(pattern, str):
        raise UserError(f'{where}: {pattern!r} is neither a class name nor a regular expression')
    hits = {
        m
        for m, aliases in names.items()
        if pattern in class_names(m)
        or any(a and (a == pattern or a.endswith('.' + pattern)) for a in aliases)
    }
    if hits:
        return hits
    try:
        regex = re.compile(pattern)
    except re.error as error:
        raise UserError(
            f'{where}: {pattern!r} is neither a class or module name nor a regular '
            f'expression ({error})'
        ) from None
    return {m for m, aliases in names.items() if any(a and regex.fullmatch(a) for a in aliases)}


def class_names(module: nn.Module) -> list[str]:
    """Return the names of a module's class and those it is derived from, up to ``nn.Module``."""
    mro = type(module).__mro__
    return [c.__name__ for c in mro[: mro.index(nn.Module)]]


def _nearest(names: dict[nn.Module, list[str]], pattern: str) -> str:
    return nearest_module(
        pattern, chain.from_iterable(names.values()), chain.from_iterable(map(class_names, names))
    )
