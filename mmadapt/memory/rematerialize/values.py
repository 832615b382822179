"""How a tensor was made, and making it again."""

import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from ...random_state import get_torch_state, set_torch_state
from .kept import Kept, check_version


class Form(NamedTuple):
    """What is known of a tensor besides its values; offset and stride in elements."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, tensor: Tensor) -> 'Form':
        """Return the form of a tensor."""
        offset: Any = tensor.storage_offset()
        return cls(tensor.shape, tensor.stride(), offset, tensor.dtype, tensor.device)

    def is_like(self, other: 'Form') -> bool:
        """Return whether another one differs in nothing but the place in memory."""
        return self[:2] == other[:2] and self[3:] == other[3:]

    @property
    def extent(self) -> int:
        """int: How far its last element is from its first, both included."""
        return 1 + sum((n - 1) * step for n, step in zip(self.size, self.stride, strict=True))

    def empty(self) -> Tensor:
        """Return a tensor of this size, stride and dtype."""
        return torch.empty_strided(self.size, self.stride, dtype=self.dtype, device=self.device)


class Call:
    """A call of a function that can be made again.

    Args:
        function (Callable): What to call.
        args (Sequence): Its arguments, with a :class:`Value` in the place of each tensor.
        kwargs (Mapping): The same, by name.
        values (list[Value]): Those in both.
        autocast (tuple[str, torch.dtype], optional): The device and dtype of the autocast it was
            in. Defaults to none.
        random (tuple, optional): The state of the random generators before it, where it draws from
            them. Defaults to none.
        weight (int): What it counts among the calls that a tensor takes. Defaults to 1.

    Attributes:
        packs (dict): What autograd saved in it and is to be made again, by its place.
        saves (int): How many tensors autograd saved in it.
        records (bool): Whether its kernels are chosen by what needs a gradient.
    """

    def __init__(
        self,
        function: Callable,
        args: Sequence,
        kwargs: Mapping,
        values: 'list[Value]',
        autocast: tuple[str, torch.dtype] | None = None,
        random: tuple | None = None,
        weight: int = 1,
    ) -> None:
        self.function, self.args, self.kwargs, self.values = function, args, kwargs, values
        self.autocast, self.random, self.weight = autocast, random, weight
        self.packs: dict[int, weakref.ref[Value]] = {}
        self.saves, self.records = 0, False

    def needed(self, value: 'Value') -> 'list[Value]':
        """Return what one of its results is made from; the noise of a dropout from nothing."""
        return [] if self._is_noise(value) else self.values

    def _is_noise(self, value: 'Value') -> bool:
        return value.place is not None and self.random is not None and len(self.values) == 1

    def again(self, value: 'Value', make: 'Callable[[Value], Tensor]') -> 'dict[Value, Tensor]':
        """Make one of its results again.

        Args:
            value (Value): Which.
            make (Callable): Makes the tensors that it needs.

        Returns:
            dict[Value, Tensor]: It, and what else was saved and is made with it.
        """
        if value.place is None:
            if self.records:
                result, _ = self._recorded_again(value, make)
            else:
                args, kwargs = _fill(self.args, make), _fill(self.kwargs, make)
                with self._as_it_was(), torch.no_grad():
                    result = self.function(*args, **kwargs)
            return {value: (result if value.index is None else result[value.index]).detach()}
        _, saved = self._recorded_again(value, make)
        if len(saved) != self.saves:
            raise RuntimeError(
                f'memory.rematerialize: {self.function.__name__} saves {len(saved)} tensors now '
                f'and saved {self.saves}: it is computed otherwise than in the forward pass'
            )
        wanted = {place: ref() for place, ref in self.packs.items()}
        return {other: saved[place] for place, other in wanted.items() if other is not None}

    def _recorded_again(
        self, value: 'Value', make: 'Callable[[Value], Tensor]'
    ) -> tuple[Any, list[Tensor]]:
        """Return what it returns, and what autograd saves in it in the order of saving."""
        saved: list[Tensor] = []

        def with_gradient(other: 'Value') -> Tensor:
            tensor = other.form.empty() if self._is_noise(value) else make(other)
            return tensor.detach().requires_grad_() if other.requires_grad else tensor

        args, kwargs = _fill(self.args, with_gradient), _fill(self.kwargs, with_gradient)
        hooks = saved_tensors_hooks(lambda tensor: saved.append(tensor.detach()), _refuse)
        with self._as_it_was(), torch.enable_grad(), hooks:
            result = self.function(*args, **kwargs)
        return result, saved

    def _as_it_was(self) -> ExitStack:
        stack = ExitStack()
        index = _cuda_index(self.values)
        if index >= 0:
            stack.enter_context(torch.cuda.device(index))
        device, dtype = self.autocast or (None, None)
        for kind in ('cpu', 'cuda'):
            if kind == device:
                stack.enter_context(torch.autocast(kind, dtype, cache_enabled=False))
            elif torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if self.random is not None:
            stack.callback(set_torch_state, get_torch_state())
            set_torch_state(self.random)
        return stack


def _cuda_index(values: 'list[Value]') -> int:
    """Return the GPU of the first of some values that is on one; -1, which means none."""
    return next((v.form.device.index for v in values if v.form.device.type == 'cuda'), -1)


def _refuse(_) -> Tensor:
    raise RuntimeError('there is no backward pass of what is made again')


def _fill(node: Any, make: 'Callable[[Value], Tensor]') -> Any:
    """Return arguments with tensors in the place of values."""
    if isinstance(node, Value):
        return make(node)
    if isinstance(node, dict):
        return {key: _fill(item, make) for key, item in node.items()}
    if type(node) in (list, tuple):
        return type(node)(_fill(item, make) for item in node)
    return node


class Value:
    """What a tensor held at one version of it. Does not keep the tensor.

    Args:
        tensor (Tensor): The tensor.
        call (Call, optional): What made it; None if that is not known, or not to be called again.
        index (int, optional): Its place in what the call returned, where that is a sequence.
        place (int, optional): Its place among what autograd saved in the call, if it is no output.
        own (bool): Whether it is a parameter, which is there anyway. Defaults to False.

    Attributes:
        is_pure (bool): Whether it is a parameter or made of parameters alone.
        waiting (int): For how many that were saved it will be made again.
        cache (Tensor, optional): It, made already, for those.
        hold (Kept, optional): Keeps it, where it is so small that what is made from it may need it.
    """

    __slots__ = (
        '__weakref__',
        '_kept',
        '_tensor',
        'cache',
        'call',
        'form',
        'hold',
        'index',
        'is_pure',
        'key',
        'nbytes',
        'own',
        'place',
        'requires_grad',
        'version',
        'waiting',
    )

    def __init__(
        self,
        tensor: Tensor,
        call: Call | None = None,
        index: int | None = None,
        place: int | None = None,
        own: bool = False,
    ) -> None:
        self.call, self.index, self.place = call, index, place
        self.own = tensor if own else None
        self.is_pure = own
        self.form = Form.of(tensor)
        storage = tensor.untyped_storage()
        self.key, self.nbytes = storage._cdata, storage.nbytes()
        self.version = tensor._version
        self.requires_grad = tensor.requires_grad
        self.waiting = 0
        self.cache: Tensor | None = None
        self._tensor = weakref.ref(tensor)
        self._kept: weakref.ref[Kept] | None = None
        self.hold: Kept | None = None

    @property
    def is_lasting(self) -> bool:
        """bool: Whether it can be had wherever what is made of parameters is used."""
        return self.is_pure or self.hold is not None

    def tensor(self) -> Tensor | None:
        """Return the tensor, if it is there and holds the same."""
        tensor = self._tensor()
        if tensor is None:
            return None
        # As torch.utils.weak does: C++ may have been its only owner.
        tensor._fix_weakref()  # type: ignore[attr-defined]
        return tensor if tensor._version == self.version else None

    def check_unwritten(self) -> None:
        """Check that the tensor, if it is still there, holds the same.

        Raises:
            RuntimeError: It has been written into, as autograd would have noticed.
        """
        tensor = self._tensor()
        if tensor is not None:
            tensor._fix_weakref()  # type: ignore[attr-defined]
            check_version(tensor, self.version)

    @property
    def kept(self) -> Kept | None:
        """Kept, optional: Where it is kept."""
        if self.hold is not None:
            return self.hold
        return None if self._kept is None else self._kept()

    @kept.setter
    def kept(self, kept: Kept) -> None:
        self._kept = weakref.ref(kept)


def make(value: Value, anchors: Mapping[Value, Kept], made: dict[Value, Tensor]) -> Tensor:
    """Make a tensor again.

    Args:
        value (Value): Which.
        anchors (Mapping[Value, Kept]): What it is made from.
        made (dict[Value, Tensor]): What has been made on the way; is added to.

    Returns:
        Tensor: It, bit by bit what it was, with the same strides.

    Raises:
        RuntimeError: What it is made from has been written into since.
    """
    if value in anchors:
        return _in_form(anchors[value].anchor(), value.form)
    if value.own is not None:
        return check_version(value.own, value.version).detach()
    tensor = made.get(value, value.cache)
    if tensor is not None:
        return tensor
    assert value.call is not None  # or it would be among the anchors
    for other, result in value.call.again(value, lambda v: make(v, anchors, made)).items():
        made[other] = _in_form(result, other.form)
    return made[value]


def _in_form(tensor: Tensor, form: Form) -> Tensor:
    """Return a tensor in a form: dtype, as writing into one keeps it, and strides."""
    if tuple(tensor.shape) != form.size:
        raise RuntimeError(
            f'memory.rematerialize: a tensor of size {form.size} is of size {tuple(tensor.shape)} '
            'when it is made again'
        )
    same = tensor.stride() == form.stride or tensor.numel() <= 1
    return tensor if same and tensor.dtype == form.dtype else form.empty().copy_(tensor)
