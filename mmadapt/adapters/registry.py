"""The registry of adapter methods."""

import inspect
from collections.abc import Mapping

from mmengine.registry import Registry

from ..errors import UserError
from ..values import check_keys, nearest
from .other_names import other_names

ADAPTERS = Registry('adapter', scope='mmadapt', locations=['mmadapt.adapters'])
"""Adapter methods by name: ``LoRA`` and whatever a third party registers."""


def build_method(cfg):
    """Build an adapter method from its config.

    Args:
        cfg (dict): ``type`` names a class in :data:`ADAPTERS`; the other keys are its arguments.

    Returns:
        AdapterMethod: The method.

    Raises:
        UserError: ``type`` is missing or unknown, a key is not an argument of the method, or a
            value is out of its range.
    """
    if not isinstance(cfg, Mapping):
        raise UserError(
            f"peft.method must be a dict such as dict(type='LoRA', r=8) or None, got {cfg!r}"
        )
    cfg = dict(cfg)
    name = cfg.pop('type', None)
    known = sorted(ADAPTERS.module_dict)
    if not isinstance(name, str):
        raise UserError(f'peft.method needs a `type`, one of {known}; got {name!r}')
    method = ADAPTERS.module_dict.get(name.split('.')[-1])
    if method is None:
        raise UserError(
            f'peft.method.type={name!r} is unknown; nearest: {nearest(name, known)}, all: {known}'
        )
    arguments = list(inspect.signature(method).parameters)
    check_keys(
        'peft.method',
        cfg,
        arguments,
        other_names(arguments),
        f' for {name}',
        '. A key inherited from the `_base_` of another method is dropped with '
        f'method=dict(_delete_=True, type={name!r}, ...)',
    )
    return method(**cfg)
