"""Tensors that are kept for the backward pass, and what is known of their memory."""

import weakref
from collections.abc import Callable, Iterable

import torch
from torch import Tensor


def storage_of(tensor: Tensor) -> int:
    """Return what names the memory of a tensor, as long as anything keeps it."""
    return tensor.untyped_storage()._cdata


def check_version(tensor: Tensor, version: int) -> Tensor:
    """Return a tensor.

    Autograd itself notices when a tensor that it has saved is written into before it is used, but
    not behind hooks.

    Args:
        tensor (Tensor): It, or one that shares its version counter.
        version (int): Its version when it was saved.

    Returns:
        Tensor: The same.

    Raises:
        RuntimeError: It has been written into since.
    """
    if tensor._version != version:
        raise RuntimeError(
            'one of the variables needed for gradient computation has been modified by an inplace '
            f'operation: [{tensor.type()} {list(tensor.shape)}] is at version {tensor._version}; '
            f'expected version {version} instead'
        )
    return tensor


class Kept:
    """A tensor that is kept, once for all that need it.

    Args:
        tensor (Tensor): It, detached.
        watched (Tensor): One that shares the version counter of what was saved, detached.
        store (Store): Where it is entered.
    """

    __slots__ = (
        '__weakref__',
        '_copy',
        '_counted',
        '_store',
        '_tensor',
        '_version',
        '_watched',
        'anchors',
        'key',
    )

    def __init__(self, tensor: Tensor, watched: Tensor, store: 'Store') -> None:
        self.key = storage_of(tensor)
        self._tensor, self._watched = tensor, watched
        self._version = watched._version
        self._counted = store.counted(tensor)
        self._copy: Tensor | None = None
        self._store = store
        self.anchors = False
        store.enter(self)

    def __del__(self) -> None:
        self._store.leave(self)

    def saved(self) -> Tensor:
        """Return the tensor, for autograd, which has saved it.

        Raises:
            RuntimeError: It has been written into since.
        """
        check_version(self._watched, self._version)
        return self._tensor

    def is_unwritten(self) -> bool:
        """Return whether the tensor can still be had as it was."""
        return self._copy is not None or self._watched._version == self._version

    def anchor(self) -> Tensor:
        """Return the tensor as it was, for others to be made from it.

        Raises:
            RuntimeError: It has been written into since the forward pass.
        """
        return self.saved() if self._copy is None else self._copy

    def protect(self) -> None:
        """Keep a copy if others are made from it, as it is about to be written into."""
        if self.anchors and self._copy is None and self.is_unwritten():
            with torch.no_grad():
                self._copy = self.saved().clone()


class Store:
    """All that is kept, by its memory. Every :class:`Kept` is in it as long as it lives.

    Args:
        count (Callable, optional): Gets all that is kept; what it returns lives as long.
        there (Iterable[Tensor]): What is there anyway. Defaults to none.
    """

    def __init__(
        self, count: Callable[[Tensor], object] | None = None, there: Iterable[Tensor] = ()
    ) -> None:
        self._count = count
        self._there = {storage_of(tensor) for tensor in there}
        self._kept: dict[int, dict[int, weakref.ref[Kept]]] = {}

    def counted(self, tensor: Tensor) -> object:
        """Count a tensor that is kept, as long as what this returns lives."""
        return self._count(tensor) if self._count else None

    def enter(self, kept: Kept) -> None:
        """Note something that is kept."""
        self._kept.setdefault(kept.key, {})[id(kept)] = weakref.ref(kept)

    def leave(self, kept: Kept) -> None:
        """Forget something that is kept no longer."""
        others = self._kept[kept.key]
        del others[id(kept)]
        if not others:
            del self._kept[kept.key]

    def holds(self, key: int) -> bool:
        """Return whether a memory is there anyway."""
        return key in self._kept or key in self._there

    def protect(self, tensor: Tensor) -> None:
        """Copy what others are made from, as its memory is about to be written into."""
        for ref in [*self._kept.get(storage_of(tensor), {}).values()]:
            kept = ref()
            if kept is not None:
                kept.protect()
