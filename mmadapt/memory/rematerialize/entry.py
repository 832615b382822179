"""Where a model's forward pass is watched."""

from collections.abc import Callable, Iterable
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from ...errors import UserError
from ...logs import say
from ..matching import class_names
from .levels import LEVELS, PARTS, with_included
from .tracing import Tracing


class Rematerialization:
    """Watches the forward passes of a model that record gradients.

    A copy of the model has a copy of this one.

    Args:
        levels (Iterable[str]): What is made again beside what is cheap, of
            :data:`~.levels.LEVELS`. Defaults to nothing.
    """

    def __init__(self, levels: Iterable[str] = ()) -> None:
        self._levels = with_included(levels)
        # Of each thread, the passes that it is in; None for one that is not watched.
        self._entered: dict[int, list[Tracing | None]] = {}
        self._has_said_so = False

    def attach(self, model: nn.Module) -> None:
        """Watch a model from now on; before it is wrapped or sharded.

        Args:
            model (nn.Module): The model.

        Raises:
            UserError: A level is of modules that this model has not.
        """
        for level in sorted(self._levels & set(PARTS)):
            # What draws, moves or trains by itself is more than a function of what it is given.
            parts = [
                module
                for module in model.modules()
                if PARTS[level] in class_names(module) and not [*module.parameters()]
            ]
            if not parts:
                raise UserError(
                    f'memory.rematerialize: {level!r} is of {LEVELS[level]}, which this '
                    f'{type(model).__name__} has none of that could be made again; leave it out'
                )
            for module in parts:
                module.register_forward_pre_hook(self._begin, with_kwargs=True)
                module.register_forward_hook(self._end, always_call=True)
        model.register_forward_pre_hook(self._enter, prepend=True)
        model.register_forward_hook(self._leave, always_call=True)

    @property
    def _passes(self) -> list[Tracing | None]:
        return self._entered.setdefault(get_ident(), [])

    @property
    def _tracing(self) -> Tracing | None:
        return self._passes[-1] if self._passes and torch.is_grad_enabled() else None

    def _is_alone(self) -> bool:
        """Return whether no other hooks do more with what is saved than count it.

        Two cannot both decide what becomes of a tensor: within a block that is recomputed, and
        where tensors are moved to the CPU, nothing is made again.
        """
        count = _counter()
        alone = count is None or getattr(getattr(count, '__self__', None), 'counts_only', False)
        if not alone and not self._has_said_so:
            self._has_said_so = True
            say(
                'memory: rematerialize steps aside: other hooks for saved tensors are in force '
                'around the model'
            )
        return alone

    def _enter(self, model: nn.Module, args: tuple) -> None:
        tracing = None
        if torch.is_grad_enabled() and not any(self._passes) and self._is_alone():
            # As ZeRO-3 and FSDP2 leave them.
            is_sharded = any(hasattr(p, 'ds_id') or type(p) is DTensor for p in model.parameters())
            tracing = Tracing(self._levels, model.buffers(), is_sharded, _counter())
            tracing.__enter__()
        self._passes.append(tracing)

    def _leave(self, model: nn.Module, args: tuple, output: Any) -> None:
        tracing = self._passes.pop()
        if tracing is not None:
            tracing.__exit__(None, None, None)

    def _begin(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        if self._tracing is not None:
            level = next(level for level, name in PARTS.items() if name in class_names(module))
            self._tracing.begin_part(module, args, kwargs, level)

    def _end(self, module: nn.Module, args: tuple, output: Any) -> None:
        if self._tracing is not None:
            self._tracing.end_part(output)


def _counter() -> Callable[[Tensor], object] | None:
    """Return what counts the tensors that are saved, if something does."""
    hooks = torch._C._autograd._top_saved_tensors_default_hooks(True)
    return None if hooks is None else hooks[0]


def compiled_parts(model: nn.Module) -> list[str]:
    """Return the names of the modules of a model that ``torch.compile`` has compiled."""
    return [
        name or type(model).__name__
        for name, module in model.named_modules()
        if hasattr(module, '_orig_mod') or module._compiled_call_impl is not None
    ]
