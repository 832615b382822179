"""``num_cp`` of MMDetection's transformers without fairscale.

Three of its modules take ``checkpoint_wrapper`` from fairscale when they are imported, or None, and
with None their encoders raise while a model is built: before any hook of a runner runs, in tools
that are not ours. So the name has to be in those modules by the time they are used. To import them
here would add seconds to ``import mmadapt``; MMEngine imports them only when it builds the first
model. What Python offers for that is a finder on ``sys.meta_path``: this one acts on exactly these
modules, in whatever order things are imported, and hands everything else on. Where fairscale is
installed they have its own, and nothing is touched.
"""

import functools
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from torch import nn

_LAYERS = 'mmdet.models.layers.transformer.'
MODULES = tuple(
    f'{_LAYERS}{name}'
    for name in ('detr_layers', 'deformable_detr_layers', 'grounding_dino_layers')
)


def provide_checkpoint_wrapper() -> None:
    """Give MMDetection's transformers a ``checkpoint_wrapper`` if they have none. Idempotent."""
    for name in MODULES:
        if name in sys.modules:
            _provide(sys.modules[name])
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def checkpoint_wrapper(module: nn.Module) -> nn.Module:
    """Recompute a module's activations in the backward pass; stands in for fairscale's."""
    from ..memory.checkpointing import recompute

    recompute(module)
    return module


class _Finder(MetaPathFinder):
    def find_spec(self, fullname: str, path, target=None) -> ModuleSpec | None:
        if fullname not in MODULES:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader
            loader.exec_module = functools.partial(_execute, loader.exec_module)
        return spec


def _execute(exec_module, module: ModuleType) -> None:
    exec_module(module)
    _provide(module)


def _provide(module: Any) -> None:
    if module.checkpoint_wrapper is None:
        module.checkpoint_wrapper = checkpoint_wrapper
