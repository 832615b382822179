"""Watches a forward pass: how tensors are made."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.overrides import TorchFunctionMode

from ...random_state import get_torch_state
from .arguments import (
    CONSTANTS,
    NESTS,
    Noted,
    NotPlain,
    autocast_of,
    is_constant,
    outputs_in,
    written_by,
)
from .functions import (
    ALWAYS,
    AS_ONE,
    LOOKS,
    Kind,
    draws,
    is_ours,
    kind_of,
    moves_statistics,
    waits,
)
from .saved import Saved, pack_hook
from .saving import PLAIN, Saving, is_large, is_plain, is_tiny
from .values import Call, Value

_NOTHING, _LITTLE, _MUCH = range(3)


class Tracing(TorchFunctionMode):
    """Notes how tensors are made, and lets what is cheap to make again not be kept.

    The functions that are called from Python are seen, and what autograd saves in them. What a
    tensor is is known as long as it lives and is not written into.

    Args:
        levels (Iterable[str]): What is made again beside what is cheap, of
            :data:`~.levels.LEVELS`.
        buffers (Iterable[Tensor]): Those of the model, which are there anyway.
        is_sharded (bool): Whether the parameters are there only while their block computes.
        count (Callable, optional): Gets all that is kept; what it returns lives as long.
    """

    def __init__(
        self,
        levels: Iterable[str],
        buffers: Iterable[Tensor],
        is_sharded: bool = False,
        count: Callable[[Tensor], object] | None = None,
    ) -> None:
        super().__init__()
        self._levels = {ALWAYS, *levels}
        self._saving = Saving(self._levels, buffers, is_sharded, count)
        self._pack_hook = self._pack
        self._hooks = saved_tensors_hooks(self._pack_hook, Saved.restore)
        # While it looks away, the hooks that are then in force.
        self._is_paused = False
        self._others: Callable[[Tensor], object] | None = None
        # By id, and only as long as a weak reference says that it is the same tensor.
        self._values: dict[int, Value] = {}
        self._packs: list[Saved] | None = None
        self._parts: list[tuple] = []

    def __enter__(self):
        self._hooks.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        if not self._is_paused:
            self._hooks.__exit__(*error)
        del self._hooks, self._pack_hook  # know this one
        self._values.clear()
        self._saving.leave()

    def pause(self) -> bool:
        """Look at nothing but writes until :meth:`resume`; autograd keeps what it saves itself.

        Returns:
            bool: Whether it does: not within other hooks for saved tensors.
        """
        if self._is_paused or not self._decides():
            return False
        self._hooks.__exit__()
        self._is_paused, self._others = True, pack_hook()
        return True

    def resume(self) -> bool:
        """Look again.

        Returns:
            bool: Whether it does, and did not: not within other hooks for saved tensors.
        """
        if not self._is_paused or pack_hook() is not self._others:
            return False
        self._is_paused = False
        self._hooks.__enter__()
        return True

    def _decides(self) -> bool:
        """Return whether what autograd saves comes to this one, and not to others within."""
        return pack_hook() is self._pack_hook

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        kind = kind_of(func)
        if kind is LOOKS or self._parts:
            return func(*args, **kwargs)
        if kind is AS_ONE:
            func, args = args[0], args[1:]
        writes = kind.writes or bool(
            kwargs and (kwargs.get('inplace') is True or kwargs.get('out') is not None)
        )
        if writes:
            for tensor in written_by(args, kwargs):
                self._saving.protect(tensor)
        if self._is_paused or not torch.is_grad_enabled():
            return func(*args, **kwargs)
        worth = self._worth(kind, args)
        if kwargs and worth != _MUCH:
            worth = max(worth, self._worth(kind, kwargs.values()))
        if worth == _MUCH:
            return self._watch(func, kind, writes, args, kwargs)
        if worth == _NOTHING or not self._decides():
            return func(*args, **kwargs)
        # Nothing is worth being noted, nor what is saved.
        self._hooks.__exit__()
        try:
            return func(*args, **kwargs)
        finally:
            self._hooks.__enter__()

    def begin_part(self, module: nn.Module, args: tuple, kwargs: dict, level: str) -> None:
        """See a module's forward as one function, until :meth:`end_part`."""
        with torch._C.DisableTorchFunction():
            noted = self._call(module.forward, args, kwargs)
            if noted is not None:
                noted.call.autocast = autocast_of(noted.tensors)
        self._parts.append((noted, Kind(level), self._packs))
        self._packs = []

    def end_part(self, result: Any) -> None:
        """See what a module's forward has returned."""
        noted, kind, outer = self._parts.pop()
        packs, self._packs = self._packs or [], outer
        if noted is None or result is None:
            return  # what is saved stays as it is
        with torch._C.DisableTorchFunction():
            is_known = kind.level in self._levels
            if is_known:
                self._hold(noted)
            outputs = self._note(result, noted.call, noted.tensors, is_known, False)
            self._saving.settle(packs, self._known, noted.call, kind, outputs, False, False)

    def _pack(self, tensor: Tensor) -> Saved:
        saved = Saved(tensor)
        if self._packs is not None:
            self._packs.append(saved)  # until it is known what its call has made
        else:
            with torch._C.DisableTorchFunction():
                self._saving.decide(saved, self._known(tensor))
        return saved

    def _run(self, func, args: tuple, kwargs: dict) -> tuple[Any, list[Saved]]:
        """Return what a function returns, and what autograd saves in it."""
        outer, self._packs = self._packs, []
        try:
            result = func(*args, **kwargs)
        finally:
            packs, self._packs = self._packs, outer
        return result, packs

    def _watch(self, func, kind: Kind, writes: bool, args: tuple, kwargs: dict) -> Any:
        autocast = autocast_of((*args, *kwargs.values()))
        if kind.lowers and not writes and autocast is not None:
            args = tuple(self._lowered(argument, autocast) for argument in args)
            kwargs = {key: self._lowered(value, autocast) for key, value in kwargs.items()}
        noted = self._call(kind.instead or func, args, kwargs)
        if noted is None or not noted.tensors:
            return func(*args, **kwargs)
        call, tensors = noted.call, noted.tensors
        # What writes keeps its dtype, whatever autocast would choose.
        call.autocast, call.weight = None if writes else autocast, not kind.is_view
        moves = kind.casts and moves_statistics(func, args, kwargs)
        is_sound = noted.is_constant and not moves and not waits(func, tensors)
        is_known = kind.level in self._levels and is_sound
        if kind.is_random and is_known:
            # A dropout that writes is another one on a GPU.
            is_known = not writes and draws(func, args, kwargs)
            with torch.cuda.device_of(tensors[0]):
                call.random = get_torch_state() if is_known else None
        if kind is AS_ONE and not is_ours(func):
            with torch.cuda.device_of(tensors[0]):
                call.random = get_torch_state()  # a method of somebody's own may draw numbers
        result, packs = self._run(func, args, kwargs)
        if moves:
            self._forget_buffers(tensors)
        rewrites = writes and (kind.instead is not None or kwargs.get('inplace') is True)
        outputs: list[Value] = []
        if rewrites or not writes:
            is_again = is_known or (is_sound and kind.of_weights)
            if is_again and any(is_large(output) for _, output in outputs_in(result)):
                self._hold(noted)
            is_pure = is_again and kind.of_weights and all(v.is_lasting for v in call.values)
            outputs = self._note(result, call, tensors, is_known, is_pure, rewrites)
        if packs:
            self._saving.settle(packs, self._known, call, kind, outputs, writes, is_sound)
        return result

    def _call(self, func, args: tuple, kwargs: dict) -> 'Noted | None':
        """Return a call with values in the place of tensors; None if one is more than memory."""
        if kwargs:
            kwargs = {k: value for k, value in kwargs.items() if k not in ('inplace', 'out')}
        noted = Noted()
        try:
            filled = self._values_of(args, noted)
            kwargs = self._values_of(kwargs, noted) if kwargs else kwargs
        except NotPlain:
            return None
        noted.call = Call(func, filled, kwargs, noted.values)
        return noted

    def _values_of(self, node: Any, noted: 'Noted') -> Any:
        """Return arguments with values in the place of tensors, and note what they are."""
        if type(node) is dict:
            return dict(zip(node, self._values_of([*node.values()], noted), strict=True))
        filled: list[Any] = []
        for item in node:
            kind = type(item)
            if kind in PLAIN:
                value = self._value(item)
                noted.tensors.append(item)
                noted.values.append(value)
                filled.append(value)
            elif kind in CONSTANTS:
                filled.append(item)
            elif kind in NESTS:
                is_flat = kind is tuple and CONSTANTS.issuperset(map(type, item))
                filled.append(item if is_flat else self._values_of(item, noted))
            elif isinstance(item, Tensor):
                raise NotPlain
            else:
                noted.is_constant = noted.is_constant and is_constant(item)
                filled.append(item)
        return tuple(filled) if type(node) is tuple else filled

    def _value(self, tensor: Tensor) -> Value:
        """Return the value of a tensor as it is now.

        Raises:
            NotPlain: It is more than memory that is written into.
        """
        value = self._known(tensor)
        if value is None:
            if not is_plain(tensor):
                raise NotPlain
            value = Value(tensor, own=isinstance(tensor, nn.Parameter))
            value.is_pure = self._is_own(tensor)
            self._values[id(tensor)] = value
        return value

    def _hold(self, noted: 'Noted') -> None:
        """Keep copies of what is tiny, for what is made of it to be made again."""
        # A parameter may change before the backward pass, or be away, if it is sharded.
        for tensor, value in zip(noted.tensors, noted.call.values, strict=True):
            # Not one that the call itself has written into.
            if value.hold is None and is_tiny(tensor) and value.tensor() is tensor:
                self._saving.hold(tensor, value)

    def _forget_buffers(self, tensors: list[Tensor]) -> None:
        """Forget what buffers held that a norm has written into, which bumps no version."""
        for tensor in tensors:
            if self._saving.is_buffer(tensor):
                self._values.pop(id(tensor), None)

    def _is_own(self, tensor: Tensor) -> bool:
        return isinstance(tensor, nn.Parameter) or self._saving.is_buffer(tensor)

    def _known(self, tensor: Tensor) -> Value | None:
        value = self._values.get(id(tensor))
        return value if value is not None and value.tensor() is tensor else None

    def _note(
        self,
        result: Any,
        call: Call,
        tensors: list[Tensor],
        is_known: bool,
        is_pure: bool,
        rewrites: bool = False,
    ) -> list[Value]:
        """Note what a call has returned."""
        noted = []
        for index, output in outputs_in(result):
            is_input = any(output is tensor for tensor in tensors)
            if not is_plain(output) or (is_input and not rewrites):
                continue  # what was given has come back
            value = Value(output)
            # Of a view that was written into, it is not known what else looks at it.
            if (is_known or is_pure) and not (is_input and output._base is not None):
                value.call, value.index = call, index
            value.is_pure = is_pure
            self._values[id(output)] = value
            noted.append(value)
        return noted

    def _worth(self, kind: Kind, arguments: Iterable) -> int:
        """Return how much it matters what is made of arguments: nothing, little, or much.

        Of what needs no gradient autograd saves nothing, unless it meets something that does.
        """
        worth = _NOTHING
        for argument in arguments:
            if isinstance(argument, Tensor):
                needs = argument.requires_grad
                if is_large(argument):
                    if needs:
                        return _MUCH
                    value = self._values.get(id(argument))
                    is_pure = self._is_own(argument) if value is None else value.is_pure
                    if is_pure and (value or kind.of_weights or kind.lowers):
                        return _MUCH
                if needs:
                    worth = _LITTLE
            elif type(argument) in NESTS and argument:
                items = argument.values() if type(argument) is dict else argument
                worth = max(worth, self._worth(kind, items))
                if worth == _MUCH:
                    return worth
        return worth

    def _lowered(self, argument: Any, autocast: tuple[str, torch.dtype]) -> Any:
        """Cast as autocast would, but for what it casts once for all calls, so that it is seen."""
        if (
            not isinstance(argument, Tensor)
            or not is_plain(argument)
            or argument.dtype is not torch.float32
            or argument.device.type != autocast[0]
            or (argument.is_leaf and argument.requires_grad and argument._base is None)
        ):
            return argument
        value = self._value(argument)
        lowered = argument.to(autocast[1])
        call = Call(Tensor.to, (value, autocast[1]), {}, [value])
        self._note(lowered, call, [], True, value.is_pure)
        return lowered
