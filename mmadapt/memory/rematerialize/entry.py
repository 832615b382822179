"""Where a model's forward pass is watched."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from ..matching import class_names
from .levels import PARTS, with_included
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
        self._entered: list[Tracing | None] = []

    def attach(self, model: nn.Module) -> None:
        """Watch a model from now on; before it is wrapped or sharded."""
        model.register_forward_pre_hook(self._enter, prepend=True)
        model.register_forward_hook(self._leave, always_call=True)
        for level in self._levels & set(PARTS):
            for module in model.modules():
                if PARTS[level] in class_names(module):
                    module.register_forward_pre_hook(self._begin, with_kwargs=True)
                    module.register_forward_hook(self._end)

    @property
    def _tracing(self) -> Tracing | None:
        return self._entered[-1] if self._entered and torch.is_grad_enabled() else None

    def _enter(self, model: nn.Module, args: tuple) -> None:
        tracing = None
        if torch.is_grad_enabled() and not any(self._entered):
            # As ZeRO-3 and FSDP2 leave them.
            is_sharded = any(hasattr(p, 'ds_id') or type(p) is DTensor for p in model.parameters())
            tracing = Tracing(self._levels, model.buffers(), is_sharded)
            tracing.__enter__()
        self._entered.append(tracing)

    def _leave(self, model: nn.Module, args: tuple, output: Any) -> None:
        tracing = self._entered.pop()
        if tracing is not None:
            tracing.__exit__(None, None, None)

    def _begin(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        if self._tracing is not None:
            level = next(level for level, name in PARTS.items() if name in class_names(module))
            self._tracing.begin_part(module, args, kwargs, level)

    def _end(self, module: nn.Module, args: tuple, output: Any) -> None:
        if self._tracing is not None:
            self._tracing.end_part(output)


def compiled_parts(model: nn.Module) -> list[str]:
    """Return the names of the modules of a model that ``torch.compile`` has compiled."""
    return [
        name or type(model).__name__
        for name, module in model.named_modules()
        if hasattr(module, '_orig_mod') or module._compiled_call_impl is not None
    ]
