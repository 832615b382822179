"""Data sets of MMSegmentation and MMPretrain, known without importing either."""

import inspect
from pathlib import Path
from typing import Any

from ..errors import UserError
from .problems import Problems


def library_class(cls: Any, library: str, name: str) -> type | None:
    """Return the class of a library that a class is, or inherits from.

    Args:
        cls (Any): A class, or what a registry gave instead.
        library (str): The package, such as ``'mmseg'``.
        name (str): The class, such as ``'BaseSegDataset'``.
    """
    return next(
        (
            base
            for base in getattr(cls, '__mro__', ())
            if base.__name__ == name and base.__module__.split('.')[0] == library
        ),
        None,
    )


def keeps(cls: type, base: type | None, name: str) -> bool:
    """Return whether a class has a method of a base as it is there; False without a base."""
    return base is not None and getattr(cls, name) is getattr(base, name)


def is_label_dataset(cls: Any) -> bool:
    """Return whether a data set is one of MMSegmentation's, or of MMPretrain's."""
    return bool(
        library_class(cls, 'mmseg', 'BaseSegDataset')
        or library_class(cls, 'mmpretrain', 'BaseDataset')
    )


def argument(cls: type, leaf: dict, name: str) -> Any:
    """Return what a data set is given for an argument, by its config or by a default.

    Args:
        cls (type): The data set's class.
        leaf (dict): Its config.
        name (str): The argument.
    """
    if name in leaf:
        return leaf[name]
    for base in cls.__mro__:
        own = vars(base).get('__init__')
        known = inspect.signature(own).parameters if own is not None else {}
        if name in known and known[name].default is not inspect.Parameter.empty:
            return known[name].default
    return None


def spread(paths: list[Path], most: int) -> list[Path]:
    """Return at most so many paths, from the whole length of a list."""
    return paths[:: -(-len(paths) // most)] if paths else []


def raise_first_error(problems: Problems, place: str, looked: str) -> None:
    """Raise the first error that was found.

    Args:
        problems (Problems): What was found.
        place (str): The data set's place in the config.
        looked (str): What was looked at, such as ``'64 of 900 label maps'``.

    Raises:
        UserError: One line with the file, an example and the remedy.
    """
    for file, kinds in problems.found.items():
        for kind, details in kinds.items():
            if kind.severity == 'error':
                count = f' ({len(details):,})' if len(details) > 1 else ''
                raise UserError(
                    f'{place}: {kind.title}{count} in {file}, looking at {looked}: '
                    f'{details[0] or "see there"}; {kind.remedy}'
                )
