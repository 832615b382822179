"""What takes the place of a tensor that autograd saves."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from .bits import PositiveBits
from .kept import Kept, check_version
from .values import Value, make


def pack_hook() -> Callable[[Tensor], object] | None:
    """Return what gets the tensors that autograd saves now, if something does."""
    hooks = torch._C._autograd._top_saved_tensors_default_hooks(True)
    return None if hooks is None else hooks[0]


class Saved:
    """Stands for a tensor that autograd has saved.

    Args:
        tensor (Tensor): The tensor, until it is decided what becomes of it.
    """

    __slots__ = (
        '__weakref__',
        '_anchors',
        '_counted',
        '_source',
        '_tensor',
        '_version',
        '_was_there',
        '_watched',
    )

    def __init__(self, tensor: Tensor) -> None:
        self._tensor: Tensor | None = tensor
        self._source: Tensor | Kept | PositiveBits | Value | None = None

    def __del__(self) -> None:
        value = self._source
        if isinstance(value, Value):
            value.waiting -= 1
            if value.waiting == 0:
                value.cache = None

    def pending(self) -> Tensor:
        """Return the tensor, about which nothing is decided yet."""
        assert self._tensor is not None
        return self._tensor

    def keep(self, kept: Kept | PositiveBits) -> None:
        """Keep it."""
        self._tensor, self._source = None, kept

    def point_at(
        self, tensor: Tensor, watched: Tensor | None = None, counted: object = None
    ) -> None:
        """Take one that is there anyway, or is small.

        Args:
            tensor (Tensor): It.
            watched (Tensor, optional): What shares its version. Defaults to itself.
            counted (object, optional): By what it is counted. Defaults to nothing.
        """
        self._tensor, self._source, self._counted = None, tensor, counted
        self._watched = tensor if watched is None else watched
        self._version = self._watched._version

    def make_from(self, value: Value, anchors: Mapping[Value, Kept]) -> None:
        """Make it again from others."""
        self._tensor, self._source, self._anchors = None, value, anchors
        # What has been written over already is one that autograd has copied.
        self._was_there = value.tensor() is not None
        value.waiting += 1
        for kept in anchors.values():
            kept.anchors = True

    def restore(self) -> Tensor:
        """Return it.

        Raises:
            RuntimeError: It, or what it is made from, has been written into since.
        """
        source = self._source
        if isinstance(source, Value):
            return self._make(source)
        if isinstance(source, Tensor):
            check_version(self._watched, self._version)
            return source
        return self.pending() if source is None else source.saved()

    def _make(self, value: Value) -> Tensor:
        if self._was_there:
            value.check_unwritten()
        if value.cache is not None:
            return value.cache
        made: dict[Value, Tensor] = {}
        tensor = make(value, self._anchors, made)
        # For all that wait for it, and only as long as one does.
        for other, result in made.items():
            if other.waiting > (other is value):
                other.cache = result
        return tensor
