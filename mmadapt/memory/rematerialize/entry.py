"""Where a model's forward pass is watched."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import get_ident
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from ...errors import UserError
from ...logs import say
from ..matching import class_names
from .levels import LEVELS, PARTS, with_included
from .saved import pack_hook
from .tracing import Tracing

# Where MMDetection's heads match what they have computed with what there is, for their losses.
_MATCHING = 'loss_by_feat'


class Rematerialization:
    """Watches the forward passes of a model that record gradients.

    A copy of the model has a copy of this one.

    Args:
        levels (Iterable[str]): What is made again beside what is cheap, of
            :data:`~.levels.LEVELS`. Defaults to nothing.
    """

    def __init__(self, levels: Iterable[str] = ()) -> None:
        self._levels = with_included(levels)
        # Of each thread that is in a forward pass.
        self._watching: dict[int, Tracing] = {}
        self._has_said_so = False

    def attach(self, model: nn.Module) -> None:
        """Watch a model from now on; before it is wrapped or sharded.

        Args:
            model (nn.Module): The model.

        Raises:
            UserError: A level is of modules that this model has not.
        """
        for level in sorted(self._levels & set(PARTS)):
            parts = _parts(model, level)
            if not parts:
                raise UserError(
                    f'memory.rematerialize: {level!r} is of {LEVELS[level]}, which this '
                    f'{type(model).__name__} has none of that could be made again; leave it out'
                )
            for module in parts:
                module.register_forward_pre_hook(self._begin, with_kwargs=True)
                module.register_forward_hook(self._end, always_call=True)
        for module in model.modules():
            if hasattr(module, _MATCHING):
                object.__setattr__(module, _MATCHING, _Entry(module, _MATCHING, self.look_away))
                for name, loss in module.named_children():
                    if name.startswith('loss'):
                        object.__setattr__(loss, 'forward', _Entry(loss, 'forward', self.look))
        # Not by plain assignment, which an adapted layer refuses: its own class is called.
        object.__setattr__(model, 'forward', _Entry(model, 'forward', self.watch))

    @property
    def _tracing(self) -> Tracing | None:
        return self._watching.get(get_ident())

    @contextmanager
    def watch(self, model: nn.Module) -> Iterator[None]:
        """Watch what a model computes, unless others decide what becomes of what is saved."""
        thread = get_ident()
        if thread in self._watching or not torch.is_grad_enabled() or not self._is_alone():
            yield
            return
        tracing = Tracing(self._levels, *_tensors_of(model), pack_hook())
        self._watching[thread] = tracing
        try:
            with tracing:
                yield
        finally:
            del self._watching[thread]

    @contextmanager
    def look_away(self, module: nn.Module) -> Iterator[None]:
        """Do not watch how boxes are matched: thousands of operations on little."""
        tracing = self._tracing
        paused = tracing is not None and tracing.pause()
        try:
            yield
        finally:
            if tracing is not None and paused:
                tracing.resume()

    @contextmanager
    def look(self, module: nn.Module) -> Iterator[None]:
        """Watch a loss of all classes and places, within what is not watched."""
        tracing = self._tracing
        resumed = tracing is not None and tracing.resume()
        try:
            yield
        finally:
            if tracing is not None and resumed:
                tracing.pause()

    def _is_alone(self) -> bool:
        """Return whether no other hooks do more with what is saved than count it.

        Two cannot both decide what becomes of a tensor: within a block that is recomputed, and
        where tensors are moved to the CPU, nothing is made again.
        """
        count = pack_hook()
        if not (count is None or getattr(getattr(count, '__self__', None), 'counts_only', False)):
            self._say('other hooks for saved tensors are in force around the model')
            return False
        return True

    def _say(self, reason: str) -> None:
        if not self._has_said_so:
            self._has_said_so = True
            say(f'memory: rematerialize steps aside: {reason}')

    def _begin(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        tracing = self._tracing
        if tracing is not None and torch.is_grad_enabled():
            level = next(level for level, name in PARTS.items() if name in class_names(module))
            tracing.begin_part(module, args, kwargs, level)

    def _end(self, module: nn.Module, args: tuple, output: Any) -> None:
        tracing = self._tracing
        if tracing is not None and torch.is_grad_enabled():
            tracing.end_part(output)


class _Entry:
    """Stands before a method of one module. A copy of the module has its own.

    Args:
        module (nn.Module): The module.
        name (str): The method.
        around (Callable): Returns the context that it runs in.
    """

    def __init__(self, module: nn.Module, name: str, around: Callable) -> None:
        self.module, self.name, self.around = module, name, around
        # What activation checkpointing and the islands have put there.
        self.before = vars(module).get(name)

    def __call__(self, *args, **kwargs):
        with self.around(self.module):
            return self.__wrapped__(*args, **kwargs)

    @property
    def __wrapped__(self) -> Callable:
        # Looked up at each call: adapters and sharding give a module another class.
        return self.before or MethodType(getattr(type(self.module), self.name), self.module)


def _tensors_of(model: nn.Module) -> tuple[list[Tensor], bool]:
    """Return the buffers of a model, and whether its parameters are sharded."""
    modules = [*model.modules()]
    buffers = [b for module in modules for b in module._buffers.values() if b is not None]
    # As FSDP2 and ZeRO-3 leave them.
    is_sharded = any(
        type(p) is DTensor or hasattr(p, 'ds_id')
        for module in modules
        for p in module._parameters.values()
    )
    return buffers, is_sharded


def levels_of(model: nn.Module) -> list[str]:
    """Return those of :data:`~.levels.LEVELS` that :meth:`Rematerialization.attach` takes."""
    return [level for level in LEVELS if level not in PARTS or _parts(model, level)]


def _parts(model: nn.Module, level: str) -> list[nn.Module]:
    # What draws, moves or trains by itself is more than a function of what it is given.
    return [
        module
        for module in model.modules()
        if PARTS[level] in class_names(module) and not [*module.parameters()]
    ]


def compiled_parts(model: nn.Module) -> list[str]:
    """Return the names of the modules of a model that ``torch.compile`` has compiled."""
    return [
        name or type(model).__name__
        for name, module in model.named_modules()
        if hasattr(module, '_orig_mod') or module._compiled_call_impl is not None
    ]
