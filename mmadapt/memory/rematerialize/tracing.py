"""Watches a forward pass: how tensors are made."""

from collections.abc import Callable, Iterable, Iterator
from types import EllipsisType, NoneType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.overrides import TorchFunctionMode

from ...random_state import get_torch_state
from .functions import ALWAYS, LOOKS, Kind, draws, kind_of, moves_statistics
from .saved import Saved
from .saving import SMALL, Saving, is_plain
from .values import Call, Value

_CONSTANTS = (
    *(bool, int, float, complex, str, NoneType, EllipsisType, Tensor, torch.Size),
    *(torch.dtype, torch.device, torch.layout, torch.memory_format),
)


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
        self._hooks = saved_tensors_hooks(self._pack, Saved.restore)
        # By id, and only as long as a weak reference says that it is the same tensor.
        self._values: dict[int, Value] = {}
        self._packs: list[Saved] | None = None
        self._parts: list[tuple] = []
        # Whether what is small is kept, for what a call makes to be made again.
        self._holds = True

    def __enter__(self):
        self._hooks.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self._hooks.__exit__(*error)
        del self._hooks  # knows this one

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        kind = kind_of(func)
        if kind is LOOKS or self._parts:
            return func(*args, **kwargs)
        writes = kind.writes or kwargs.get('inplace') is True or kwargs.get('out') is not None
        if writes:
            for tensor in _written(args, kwargs):
                self._saving.protect(tensor)
        if not torch.is_grad_enabled():
            return func(*args, **kwargs)
        if self._is_small(args) and self._is_small(kwargs.values()):
            return self._pass_by(func, args, kwargs)
        autocast = _autocast((*args, *kwargs.values()))
        if kind.lowers and not writes and autocast is not None:
            args = tuple(self._lowered(argument, autocast) for argument in args)
            kwargs = {key: self._lowered(value, autocast) for key, value in kwargs.items()}
        return self._watch(func, kind, writes, args, kwargs, autocast)

    def begin_part(self, module: nn.Module, args: tuple, kwargs: dict, level: str) -> None:
        """See a module's forward as one function, until :meth:`end_part`."""
        with torch._C.DisableTorchFunction():
            self._holds = level in self._levels
            call, tensors = self._call(module.forward, args, kwargs)
            call.autocast = _autocast(tensors)
        self._parts.append((call, Kind(level), tensors, self._packs))
        self._packs = []

    def end_part(self, result: Any) -> None:
        """See what a module's forward has returned."""
        call, kind, tensors, outer = self._parts.pop()
        packs, self._packs = self._packs or [], outer
        if not all(map(is_plain, tensors)) or result is None:
            return  # what is saved stays as it is
        with torch._C.DisableTorchFunction():
            outputs = self._note(result, call, tensors, kind.level in self._levels, False)
            self._saving.settle(packs, self._known, call, kind, outputs, False)

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

    def _pass_by(self, func, args: tuple, kwargs: dict) -> Any:
        """Call a function of which nothing is worth being noted."""
        result, packs = self._run(func, args, kwargs)
        for saved in packs:
            place = saved.pending().data_ptr()
            same = [output for _, output in _outputs(result) if output.data_ptr() == place]
            self._saving.decide(saved, None, watched=same[0] if same else None)
        return result

    def _watch(self, func, kind: Kind, writes: bool, args: tuple, kwargs: dict, autocast) -> Any:
        if not all(map(is_plain, _tensors_in((args, kwargs)))):
            return func(*args, **kwargs)
        self._holds = kind.level in self._levels or kind.of_weights
        call, tensors = self._call(kind.instead or func, args, kwargs)
        if not tensors:
            return func(*args, **kwargs)
        # What writes keeps its dtype, whatever autocast would choose.
        call.autocast, call.weight = None if writes else autocast, not kind.is_view
        moves = moves_statistics(func, args, kwargs)
        is_sound = not moves and _is_constant((args, kwargs))
        is_known = kind.level in self._levels and is_sound
        if kind.is_random and is_known:
            # A dropout that writes is another one on a GPU.
            is_known = not writes and draws(func, args, kwargs)
            with torch.cuda.device_of(tensors[0]):
                call.random = get_torch_state() if is_known else None
        result, packs = self._run(func, args, kwargs)
        if moves:
            self._forget_buffers(tensors)
        rewrites = writes and (kind.instead is not None or kwargs.get('inplace') is True)
        outputs: list[Value] = []
        if rewrites or not writes:
            is_pure = is_sound and kind.of_weights and all(v.is_pure for v in call.values)
            outputs = self._note(result, call, tensors, is_known, is_pure, rewrites)
        if packs:
            self._saving.settle(packs, self._known, call, kind, outputs, writes)
        return result

    def _call(self, func, args: tuple, kwargs: dict) -> tuple[Call, list[Tensor]]:
        """Return a call with values in the place of tensors, and these."""
        tensors: list[Tensor] = []
        kwargs = {key: value for key, value in kwargs.items() if key not in ('inplace', 'out')}
        args, kwargs = self._noted(args, tensors), self._noted(kwargs, tensors)
        return Call(func, args, kwargs, [self._values[id(tensor)] for tensor in tensors]), tensors

    def _noted(self, node: Any, tensors: list[Tensor]) -> Any:
        """Return arguments with values in the place of tensors, which are added to a list."""
        if isinstance(node, Tensor):
            tensors.append(node)
            return self._value(node)
        if type(node) in (list, tuple):
            return type(node)(self._noted(item, tensors) for item in node)
        if type(node) is dict:
            return {key: self._noted(item, tensors) for key, item in node.items()}
        return node

    def _value(self, tensor: Tensor) -> Value:
        """Return the value of a tensor as it is now."""
        value = self._known(tensor)
        if value is None:
            value = Value(tensor, own=isinstance(tensor, nn.Parameter))
            value.is_pure = self._is_own(tensor)
            self._values[id(tensor)] = value
        # A parameter may change before the backward pass, or be away, if it is sharded.
        if self._holds and value.hold is None and tensor.nbytes < SMALL:
            self._saving.hold(tensor, value)
        return value

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
        for index, output in _outputs(result):
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

    def _is_small(self, arguments: Iterable) -> bool:
        """Return whether there is nothing among arguments that is worth being noted."""
        for argument in arguments:
            if isinstance(argument, Tensor):
                if not is_plain(argument):
                    return False
                value = self._known(argument)
                is_pure = self._is_own(argument) if value is None else value.is_pure
                if is_pure or argument.nbytes >= SMALL:
                    return False
            elif type(argument) in (list, tuple) and not self._is_small(argument):
                return False
        return True

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


def _outputs(result: Any) -> list[tuple[int | None, Tensor]]:
    results = enumerate(result) if isinstance(result, (list, tuple)) else [(None, result)]
    return [(index, output) for index, output in results if isinstance(output, Tensor)]


def _written(args: tuple, kwargs: dict) -> list[Tensor]:
    return [tensor for tensor in _tensors_in((args[:1], kwargs.get('out'))) if is_plain(tensor)]


def _tensors_in(node: Any) -> Iterator[Tensor]:
    if isinstance(node, Tensor):
        yield node
    elif isinstance(node, (list, tuple)):
        for item in node:
            yield from _tensors_in(item)
    elif isinstance(node, dict):
        yield from _tensors_in([*node.values()])


def _is_constant(node: Any) -> bool:
    """Return whether arguments but for their tensors stay what they are."""
    if type(node) in (list, tuple):
        return all(map(_is_constant, node))
    if type(node) is dict:
        return all(map(_is_constant, node.values()))
    if isinstance(node, slice):
        return all(isinstance(n, (int, NoneType)) for n in (node.start, node.stop, node.step))
    return isinstance(node, _CONSTANTS)


def _autocast(arguments: Iterable) -> tuple[str, torch.dtype] | None:
    """Return device and dtype of the autocast that the first tensor of some arguments is in."""
    for tensor in _tensors_in([*arguments]):
        device = tensor.device.type
        if device in ('cpu', 'cuda') and torch.is_autocast_enabled(device):
            return device, torch.get_autocast_dtype(device)
        return None
    return None
