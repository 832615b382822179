"""Values of a config as JSON, and back: what JSON has no word for is marked."""

from collections.abc import Mapping
from typing import Any

import numpy as np

_MARK = '@'


class NotPlainError(ValueError):
    """A value that is no data, such as a function; the message says where it stands and what."""


def to_json(value, place: str = '') -> Any:
    """Turn a value of a config into what ``json`` writes.

    Args:
        value: Dicts, lists, tuples, sets, numbers, texts, arrays of NumPy and None, in each other.
        place (str): Where it stands, for messages.

    Returns:
        Any: Dicts with texts for keys, lists, numbers, texts and None.

    Raises:
        NotPlainError: Something else is in it.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value) and _MARK not in value:
            return {key: to_json(each, f'{place}.{key}') for key, each in value.items()}
        pairs = [[to_json(k, place), to_json(v, f'{place}.{k}')] for k, v in value.items()]
        return {_MARK: 'dict', 'items': pairs}
    if isinstance(value, (list, tuple, set, frozenset)):
        items = [to_json(each, f'{place}.{index}') for index, each in enumerate(value)]
        if isinstance(value, list):
            return items
        return {_MARK: 'tuple' if isinstance(value, tuple) else 'set', 'items': items}
    if isinstance(value, np.generic):
        return to_json(value.item(), place)
    if isinstance(value, np.ndarray) and value.dtype.kind in 'biuf':
        return {_MARK: 'array', 'items': value.tolist(), 'dtype': value.dtype.name}
    raise NotPlainError(f'{place.lstrip(".")} is a {type(value).__name__}')


def from_json(value) -> Any:
    """Turn the result of :func:`to_json` back.

    Args:
        value: What ``json`` has read.

    Returns:
        Any: The value of a config.

    Raises:
        ValueError: It is marked as something that :func:`to_json` does not write.
    """
    if isinstance(value, list):
        return [from_json(each) for each in value]
    if not isinstance(value, dict):
        return value
    if _MARK not in value:
        return {key: from_json(each) for key, each in value.items()}
    kind, items = value[_MARK], value.get('items', [])
    if kind == 'array':
        dtype = np.dtype(str(value.get('dtype')))
        if dtype.kind not in 'biuf':
            raise ValueError(f'an array of {dtype}')
        return np.array(items, dtype=dtype)
    if kind == 'dict':
        return {from_json(key): from_json(each) for key, each in items}
    if kind in ('tuple', 'set'):
        items = [from_json(each) for each in items]
        return tuple(items) if kind == 'tuple' else set(items)
    raise ValueError(f'a value marked {kind!r}')
