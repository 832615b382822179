"""Modules that compute in float32 under autocast.

Boxes need more digits than bfloat16 has (its 8 bits are up to 2.6 pixels of 1333), costs and losses
need its range, which float16 does not have, and MMCV's kernels take no bfloat16. What computes them
is an island: autocast is disabled inside, and tensors that arrive in a low precision are cast.

An island is entered by attributes of the *instance* that stand before the methods of its class, as
with activation checkpointing: the module keeps its class, hooks, keys and parameter names. Module
hooks alone would not do, because detectors call ``bbox_head.loss(...)``, not the head.
"""

import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from mmengine.model import BaseModule
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from ..errors import UserError
from .families import AUTO, find_islands, find_losses
from .matching import find_modules

_LOW_PRECISION = (torch.float16, torch.bfloat16)


def keep_float32(
    model: nn.Module, patterns: str | list[str], where: str = 'memory.fp32_modules'
) -> list[str]:
    """Let modules, and all that is inside them, compute in float32 under any autocast.

    That is what they compute whoever calls them and by whichever of their public methods, on a CPU
    and on a GPU. Without autocast nothing changes. May be called before or after activation
    checkpointing, but before a model is wrapped or sharded.

    Args:
        model (nn.Module): The model, not wrapped, with float32 parameters.
        patterns (str or list[str]): Class names, names or regular expressions, as for
            :func:`find_modules`; or ``'auto'``, which means what :func:`find_islands` finds.
        where (str): The config key they come from, for messages.

    Returns:
        list[str]: The full names of the modules that the patterns mean.

    Raises:
        UserError: A pattern means no module, or, when an island is entered, its parameters have a
            low precision.
    """
    chosen = find_islands(model) if patterns == AUTO else find_modules(model, patterns, where)
    for root in chosen.values():
        for module in root.modules():
            # What is inside is called by others too: the decoder of DINO calls the head's branches.
            for name in _entries(module) if module is root else ['forward']:
                _enter(module, name)
    losses = find_losses(model) if patterns == AUTO else {}
    for head in losses.values():
        _enter(head, 'loss_by_feat')
    return [*chosen, *(f'{name}.loss_by_feat' for name in losses)]


def _enter(module: nn.Module, name: str) -> None:
    if not isinstance(vars(module).get(name), _Float32Entry):
        # Not by plain assignment, which an adapted layer refuses: the forward of its own class is
        # called, so that the adapter is in it.
        object.__setattr__(module, name, _Float32Entry(module, name))


class _Float32Entry:
    """Stands before a method of one module. A copy of the module has its own.

    Args:
        module (nn.Module): The module.
        name (str): The method.
    """

    def __init__(self, module: nn.Module, name: str) -> None:
        self.module = module
        self.name = name
        # What activation checkpointing has put there.
        self.before = vars(module).get(name)

    def __call__(self, *args, **kwargs):
        # Looked up at each call: adapters and sharding give a module another class.
        function = self.before or partial(getattr(type(self.module), self.name), self.module)
        _refuse_low_precision(self.module)
        if not (torch.is_autocast_enabled('cuda') or torch.is_autocast_enabled('cpu')):
            return function(*args, **kwargs)
        with torch.autocast('cuda', enabled=False), torch.autocast('cpu', enabled=False):
            return function(
                *[_in_float32(value) for value in args],
                **{key: _in_float32(value) for key, value in kwargs.items()},
            )


def _entries(module: nn.Module) -> list[str]:
    """Return the names of the methods by which a module's computation is started."""
    mro = type(module).__mro__
    own = {
        name: value
        for c in reversed(mro[: mro.index(nn.Module)])
        for name, value in vars(c).items()
    }
    return [
        name
        for name, value in own.items()
        if inspect.isfunction(value)
        and not name.startswith('_')
        and (
            name == 'forward'
            or not (hasattr(BaseModule, name) or value.__module__ == nn.ModuleList.__module__)
        )
    ]


def _refuse_low_precision(module: nn.Module) -> None:
    for name, parameter in module._parameters.items():
        if parameter is not None and parameter.dtype in _LOW_PRECISION:
            kind = str(parameter.dtype).removeprefix('torch.')
            raise UserError(
                f'memory.fp32_modules: the {name} of a {type(module).__name__} that is to compute '
                f'in float32 is {kind}; keep the parameters in float32 and use autocast (--amp; '
                "under DeepSpeed torch_autocast=dict(enabled=True, dtype='bfloat16') instead of "
                'an fp16 or bf16 section)'
            )


def _in_float32(value: Any) -> Any:
    """Return ``value`` with its tensors of low precision cast; itself if it has none of them.

    Args:
        value: A tensor, a data element, or lists, tuples and mappings of such, at any depth.
    """
    if isinstance(value, Tensor):
        return value.float() if value.dtype in _LOW_PRECISION else value
    if isinstance(value, (Mapping, BaseDataElement)):
        items = dict(value.items())
    elif isinstance(value, (list, tuple)):
        items = dict(enumerate(value))
    else:
        return value
    cast = {key: _in_float32(item) for key, item in items.items()}
    if all(cast[key] is items[key] for key in items):
        return value  # a method may write into what it is given
    if isinstance(value, BaseDataElement):
        return value.new(**cast)
    kind: Any = type(value)
    if isinstance(value, Mapping):
        return kind(cast)
    values = cast.values()
    return kind(*values) if hasattr(value, '_fields') else kind(values)
