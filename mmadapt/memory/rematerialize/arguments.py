"""What is among the arguments and the results of a call."""

from collections.abc import Iterable, Iterator
from types import EllipsisType, NoneType
from typing import Any

import torch
from torch import Tensor

from .saving import is_plain
from .values import Call, Value

# Types of what stays what it is.
CONSTANTS = frozenset(
    (
        *(bool, int, float, complex, str, NoneType, EllipsisType),
        *(torch.dtype, torch.device, torch.layout, torch.memory_format),
    )
)
NESTS = frozenset((tuple, list, dict))


def outputs_in(result: Any) -> list[tuple[int | None, Tensor]]:
    """Return the tensors among results, each with its place if there are several."""
    results = enumerate(result) if isinstance(result, (list, tuple)) else [(None, result)]
    return [(index, output) for index, output in results if isinstance(output, Tensor)]


def written_by(args: tuple, kwargs: dict) -> list[Tensor]:
    """Return the tensors that a call writes into."""
    return [tensor for tensor in tensors_in((args[:1], kwargs.get('out'))) if is_plain(tensor)]


def tensors_in(node: Any) -> Iterator[Tensor]:
    """Return the tensors among arguments, at any depth."""
    if isinstance(node, Tensor):
        yield node
    elif isinstance(node, (list, tuple)):
        for item in node:
            yield from tensors_in(item)
    elif isinstance(node, dict):
        yield from tensors_in([*node.values()])


def is_constant(node: Any) -> bool:
    """Return whether an argument that is no tensor stays what it is."""
    if isinstance(node, slice):
        return all(isinstance(n, (int, NoneType)) for n in (node.start, node.stop, node.step))
    return type(node) in CONSTANTS or isinstance(node, (bool, int, float, str, torch.Size))


def autocast_of(arguments: Iterable) -> tuple[str, torch.dtype] | None:
    """Return device and dtype of the autocast that the first tensor of some arguments is in."""
    if not (torch.is_autocast_enabled('cpu') or torch.is_autocast_enabled('cuda')):
        return None
    for tensor in tensors_in([*arguments]):
        device = tensor.device.type
        if device in ('cpu', 'cuda') and torch.is_autocast_enabled(device):
            return device, torch.get_autocast_dtype(device)
        return None
    return None


class NotPlain(Exception):
    """A tensor is more than memory that is written into."""


class Noted:
    """What is known of the arguments of a call.

    Attributes:
        call (Call): The call.
        tensors (list[Tensor]): The tensors among them.
        values (list[Value]): Theirs.
        is_constant (bool): Whether the others stay what they are.
    """

    __slots__ = ('call', 'is_constant', 'tensors', 'values')
    call: Call

    def __init__(self) -> None:
        self.tensors: list[Tensor] = []
        self.values: list[Value] = []
        self.is_constant = True
