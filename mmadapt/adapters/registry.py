"""The registry of adapter methods."""

import inspect

from mmengine.registry import Registry

from ..values import check_dict, check_keys, check_one_of
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
    check_dict('peft.method', cfg, "dict(type='LoRA', r=8) or None")
    cfg = dict(cfg)
    name = cfg.pop('type', None)
    known = sorted(ADAPTERS.module_dict)
    method = ADAPTERS.module_dict.get(str(name).split('.')[-1])
    if method is None:
        check_one_of('peft.method.type', name, known)
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
