"""The registry of adapter methods."""

import inspect
from difflib import get_close_matches

from mmengine.registry import Registry

from ..errors import UserError

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
    cfg = dict(cfg)
    name = cfg.pop('type', None)
    known = sorted(ADAPTERS.module_dict)
    if not isinstance(name, str):
        raise UserError(f'peft.method needs a `type`, one of {known}; got {name!r}')
    method = ADAPTERS.module_dict.get(name.split('.')[-1])
    if method is None:
        near = get_close_matches(name, known, n=1, cutoff=0.0)
        raise UserError(f'peft.method.type={name!r} is unknown; nearest: {near[0]!r}, '
                        f'all: {known}')
    arguments = list(inspect.signature(method).parameters)
    unknown = [key for key in cfg if key not in arguments]
    if unknown:
        near = get_close_matches(unknown[0], arguments, n=1, cutoff=0.0) or ['none']
        raise UserError(
            f'peft.method has no key {unknown[0]!r} for {name} (nearest: {near[0]!r}; all: '
            f'{arguments}). A key inherited from the `_base_` of another method is dropped with '
            f'method=dict(_delete_=True, type={name!r}, ...)')
    return method(**cfg)
