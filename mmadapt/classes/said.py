"""What is said of the rows that a training keeps, before it begins."""

from collections import defaultdict
from collections.abc import Container, Sequence

from rich.table import Table

from ..peft.report import WIDE, render
from .kept import KeptClasses

_SHOWN = 20


def lines_of(kept: KeptClasses | None, width: int = WIDE) -> list[str]:
    """Return what a user has to know of the rows that are kept; the last line is a table.

    Args:
        kept (KeptClasses, optional): The result of :func:`~mmadapt.classes.find_kept`.
        width (int): How many characters a line may have. Defaults to 400.
    """
    if kept is None:
        return []
    lines = [f'WARNING: no rows of {kept.source} are kept: {why}' for why in kept.unreliable]
    for lists in kept.lists:
        if lists.common:
            lines.append(
                f'{len(lists.common)} of {len(lists.here)} {lists.what} start from their rows in '
                f'{kept.source}: {_some(lists.common)}; new: {_some(lists.new) or "none"}'
            )
        lines += [
            f'{name!r} is new, {kept.source} has {there!r}: write it as {there!r} to keep its rows'
            for name, there in lists.near.items()
        ]
    return [*lines, _table(kept, width)] if kept.changed else lines


def _table(kept: KeptClasses, width: int) -> str:
    table = Table('layer', 'tensors', 'rows kept', 'order', title='classes kept by name')
    for layer, keys in _by_layer(kept, kept.entries).items():
        first = keys[0]
        axis, (_, here) = next(iter(kept.entries[first].items()))
        tensor = kept.tensors[first]
        table.add_row(
            layer, _ends(keys), f'{len(here)} of {tensor.shape[axis]}', str(tensor.layouts[axis])
        )
    for layer, keys in _by_layer(kept, kept.own).items():
        table.add_row(layer, _ends(keys), "the data's own", '')
    reasons = defaultdict(list)
    for layer, keys in _by_layer(kept, kept.left).items():
        reasons[kept.left[keys[0]]].append(layer)
    for why, layers in reasons.items():
        others = f' and {len(layers) - 1} more' if layers[1:] else ''
        table.add_row(f'{layers[0]}{others}', '', 'none, random', why)
    return render(table, width)


def _by_layer(kept: KeptClasses, keys: Container[str]) -> dict[str, list[str]]:
    """Return keys by the name of their layer, those of a shared one once."""
    layers: dict[str, list[str]] = {}
    for key, first in kept.first_keys.items():
        if key == first and key in keys:
            layers.setdefault(key.rpartition('.')[0], []).append(key)
    return layers


def _ends(keys: Sequence[str]) -> str:
    return ', '.join(key.rpartition('.')[2] for key in keys)


def _some(names: Sequence[str]) -> str:
    more = f', ... ({len(names) - _SHOWN} more)' if len(names) > _SHOWN else ''
    return ', '.join(names[:_SHOWN]) + more
