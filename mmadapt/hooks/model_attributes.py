"""What changes in a model while it trains and is in no state dict: attributes of its objects.

MMDetection keeps there what the next step depends on: the size that YOLOX's batches are scaled to,
Dynamic R-CNN's thresholds, the positive samples that DDOD has counted, DropBlock's iterations. A
run that is resumed needs them as they were.
"""

from collections import OrderedDict, deque
from collections.abc import Iterator
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Path = tuple[str | int, ...]

_MODULE_ATTRIBUTES = frozenset(vars(nn.Module()))
_SIMPLE = (bool, int, float, str, bytes, type(None))
_CONTAINERS = (list, tuple, dict, OrderedDict)
# Their objects hold no state of a training, or refer to half of the process.
_FOREIGN = {
    'addict',
    'builtins',
    'functools',
    'logging',
    'mmadapt',
    'mmengine',
    'numpy',
    'threading',
    'tokenizers',
    'torch',
    'transformers',
    'weakref',
}
_KIND = 'kind of value'
# Of one attribute, in a checkpoint. A model may keep its last feature maps.
_LARGEST = 16 * 2**20


class ModelAttributes:
    """The attributes of a model that a training changes.

    Looks at modules, and at the objects in them that are none, such as assigners. What counts is
    what a file can hold: numbers, strings, arrays, tensors without a graph, and containers of them.

    Args:
        model (nn.Module): A model that has not been trained in this process. What its attributes
            are now is what a model built anew has.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._owners: set[Path] = set()
        self._before = dict(_read(model, self._owners, fresh=True))

    def changed(self) -> tuple[list[tuple[Path, object]], list[str]]:
        """Return the attributes that differ from those at the beginning.

        Returns:
            tuple: A list of paths and values, which ``torch.load(weights_only=True)`` reads; and
            the names of those that are too large to be in every checkpoint.
        """
        found, too_large = [], []
        for path, value in _read(self._model, self._owners, fresh=False):
            if path in self._before and _is_same(value, self._before[path]):
                continue
            if _bytes(value) > _LARGEST:
                too_large.append(_name(path))
            else:
                found.append((path, value))
        return found, too_large


def set_attributes(model: nn.Module, changed: list[tuple[Path, object]]) -> list[str]:
    """Give a model the attributes that :meth:`ModelAttributes.changed` has returned.

    Args:
        model (nn.Module): A model built from the same config.
        changed (list): Paths and values; the tensors among them may be on another device.

    Returns:
        list[str]: The names of those that it has no place for.
    """
    device = next((t.device for t in (*model.parameters(), *model.buffers())), None)
    homeless = []
    for path, value in changed:
        try:
            owner = model.get_submodule(str(path[0]))
            for step in path[1:-1]:
                owner = _step_into(owner, step)
            if str(path[-1]).startswith('__'):
                raise AttributeError(path[-1])
            _put(owner, path[-1], _decode(value, device))
        except (AttributeError, KeyError, IndexError, TypeError):  # the last of an item of a tuple
            homeless.append(_name(path))
    return homeless


def _step_into(owner: Any, name: str | int):
    # A path comes from a file. It leads through what belongs to the model, not by `__class__` or a
    # method's globals to what belongs to the process.
    inside: Any = owner if isinstance(owner, _CONTAINERS) else vars(owner)
    inner = inside[name]
    if not _may_look_into(inner):
        raise AttributeError(name)
    return inner


def _read(model: nn.Module, owners: set[Path], fresh: bool) -> Iterator[tuple[Path, object]]:
    """Yield paths and values; notes objects that are looked into in ``owners``, or keeps to it."""
    seen: set[int] = set()

    def walk(owner, path: Path):
        for name, value in _entries(owner):
            if isinstance(value, (nn.Module, nn.Parameter)) or id(value) in seen:
                continue
            here = (*path, name)
            if not isinstance(value, (*_SIMPLE, np.generic)):
                seen.add(id(value))  # of one object under several names, the first
            try:
                yield here, _encode(value)
            except TypeError:
                if _may_look_into(value) and (fresh or here in owners):
                    owners.add(here)
                    yield from walk(value, here)

    for name, module in model.named_modules():
        yield from walk(module, (name,))


def _entries(owner) -> list[tuple[str | int, object]]:
    if isinstance(owner, nn.Module):
        own: list[tuple[str | int, object]] = [
            (name, value)
            for name, value in vars(owner).items()
            # DeepSpeed counts there what it has gathered.
            if name not in _MODULE_ATTRIBUTES and not name.startswith(('ds_', '_ds_'))
        ]
        return own + [
            (name, owner._buffers[name])
            for name in owner._non_persistent_buffers_set
            if name in owner._buffers
        ]
    if isinstance(owner, dict):
        return [(key, value) for key, value in owner.items() if isinstance(key, (str, int))]
    return list(enumerate(owner) if isinstance(owner, (list, tuple)) else vars(owner).items())


def _may_look_into(value) -> bool:
    if type(value) in _CONTAINERS:
        return True
    return (
        hasattr(value, '__dict__')
        and type(value).__module__.split('.')[0] not in _FOREIGN
        and not isinstance(value, (type, FunctionType, MethodType, ModuleType))
    )


def _encode(value):
    """Return a copy of a value that a file can hold; TypeError if there is none."""
    kind = type(value)
    if kind in _SIMPLE:
        return value
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in 'biuf':
        return value.copy()
    if kind is Tensor and not value.requires_grad and not value.is_meta:
        copy = value.cpu().clone()
        return copy if value.device.type == 'cpu' else {_KIND: 'device', 'items': copy}
    if kind in (list, tuple):
        return kind(_encode(item) for item in value)
    if kind in (dict, OrderedDict):
        return kind((_encode(key), _encode(item)) for key, item in value.items())
    if kind in (set, deque):
        # Equal sets may have another order.
        items = sorted(value, key=repr) if kind is set else value
        return {
            _KIND: kind.__name__,
            'items': [_encode(item) for item in items],
            'maxlen': getattr(value, 'maxlen', None),
        }
    raise TypeError(kind)


def _decode(value, device: torch.device | None):
    if isinstance(value, Tensor):
        return value.cpu().clone()
    if isinstance(value, (list, tuple)):
        return type(value)(_decode(item, device) for item in value)
    if not isinstance(value, dict):
        return value
    kind = value.get(_KIND)
    if kind is None:
        return type(value)((key, _decode(item, device)) for key, item in value.items())
    items = _decode(value['items'], device)
    if kind == 'device':
        return items.to(device)
    return set(items) if kind == 'set' else deque(items, value['maxlen'])


def _put(owner: Any, name: Any, value) -> None:
    """Assign a value; within the object that is there, if it can be: others may refer to it."""
    inside = isinstance(owner, _CONTAINERS)
    try:
        present = owner[name] if inside else getattr(owner, name)
    except (AttributeError, KeyError):
        present = None
    if type(present) is type(value):
        if isinstance(value, list):
            present[:] = value
            return
        if isinstance(value, (dict, set)):
            present.clear()
            present.update(value)
            return
        if isinstance(value, deque) and present.maxlen == value.maxlen:
            present.clear()
            present.extend(value)
            return
        if isinstance(value, Tensor) and _form(present) == _form(value):
            present.copy_(value)
            return
    if inside:
        owner[name] = value
    else:
        setattr(owner, name, value)


def _form(tensor: Tensor) -> tuple:
    return tensor.shape, tensor.dtype, tensor.device, tensor.requires_grad


def _is_same(one, other) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(_is_same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_is_same, one, other))
    return one == other or (one != one and other != other)


def _bytes(value) -> int:
    if isinstance(value, (Tensor, np.ndarray)):
        return value.nbytes
    if isinstance(value, dict):
        value = list(value.values())
    return sum(map(_bytes, value)) if isinstance(value, (list, tuple)) else 8


def _name(path: Path) -> str:
    return '.'.join(str(step) for step in path if step != '')
