"""What classes take: whether each key of a config is an argument of the class that its dict names.

Building finds that out too, one key after the other, in a traceback that does not say where in the
config it is, and for most of it behind the printed config.
"""

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from types import MappingProxyType
from typing import Any

from mmengine.registry import Registry, root
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, TestLoop, ValLoop
from torch.utils.data import DataLoader

from ..type_names import type_name
from ..values import close_names, nearest

# What a runner takes for itself of the dicts of a key before their classes get the rest.
_TAKEN = MappingProxyType(
    {
        'custom_hooks': {'priority'},
        'default_hooks': {'priority'},
        'optim_wrapper': {'constructor', 'paramwise_cfg'},
        'param_scheduler': {'convert_to_iter_based'},
        'train_cfg': {'by_epoch'},
    }
)
_OF_LOADERS = {
    'batch_sampler',
    'collate_fn',
    'dataset',
    'num_batch_per_epoch',
    'sampler',
    'worker_init_fn',
}
_LOOPS = MappingProxyType(
    {
        'train_cfg': (EpochBasedTrainLoop, IterBasedTrainLoop),
        'val_cfg': (ValLoop,),
        'test_cfg': (TestLoop,),
    }
)
_DEFAULT_HOOKS = (
    'runtime_info',
    'timer',
    'sampler_seed',
    'logger',
    'param_scheduler',
    'checkpoint',
    'visualization',
)
_CONSTRUCTOR = 'DefaultOptimWrapperConstructor'
_FACTORS = (
    'bias_decay_mult',
    'bias_lr_mult',
    'bypass_duplicate',
    'custom_keys',
    'dcn_offset_lr_mult',
    'dwconv_decay_mult',
    'flat_decay_mult',
    'norm_decay_mult',
)
_OF_OTHERS = ('policies',)  # MMPretrain's RandAugment takes a key out of each of them
_SURE = 0.8  # how near a name is that can only have been misspelled
_NEAR = 0.9  # the same, where others may be right


def unknown_arguments(cfg: Mapping, keys: Collection[str]) -> Iterator[str]:
    """Yield a line for each key of a config that the class which gets it does not take.

    Only where that is certain: of a class that is not known nothing is said, and of one that passes
    on what it does not name, to where that cannot be followed, only of a name very near to one.

    Args:
        cfg (dict or Config): A whole config; what it builds is registered.
        keys (Sequence[str]): The top-level keys that are built, the model not among them: parts of
            it take away keys that are not for the class.
    """
    classes = registered(cfg.get('default_scope') or 'mmdet')
    for key in keys:
        yield from _walk(cfg.get(key), key, classes)
    for name in cfg.get('default_hooks') or {}:
        near = close_names(name, _DEFAULT_HOOKS, likeness=_SURE)
        if near and name not in _DEFAULT_HOOKS and 'default_hooks' in keys:
            yield f'default_hooks.{name}: MMEngine has no default hook {name!r}; nearest: {near[0]}'


def unread_factors(wrapper, path: str = 'optim_wrapper') -> Iterator[str]:
    """Yield a line for each misspelled key of the ``paramwise_cfg`` of MMEngine's own constructor.

    It takes what it finds there, and leaves the rest alone without a word.

    Args:
        wrapper (dict): The value of ``optim_wrapper``.
        path (str): Where it stands in the config.
    """
    if not isinstance(wrapper, Mapping) or wrapper.get('constructor', _CONSTRUCTOR) != _CONSTRUCTOR:
        return
    paramwise, where = wrapper.get('paramwise_cfg') or {}, f'{path}.paramwise_cfg'
    read: list[tuple[str, str, Collection[str]]] = [
        (f'{where}.{key}', key, _FACTORS) for key in paramwise
    ]
    # What else is there is put into the optimizer's groups.
    read += [
        (f'{where}.custom_keys[{name!r}].{key}', key, ('lr_mult', 'decay_mult'))
        for name, factors in (paramwise.get('custom_keys') or {}).items()
        for key in factors
    ]
    for place, key, names in read:
        if key not in names and close_names(key, names, likeness=_SURE):
            yield not_taken(place, _CONSTRUCTOR, key, names)


def _walk(node, path: str, classes: Mapping[str, list]) -> Iterator[str]:
    if isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            yield from _walk(value, f'{path}.{index}', classes)
    elif isinstance(node, Mapping):
        yield from _check(node, path, classes)
        for key, value in node.items():
            if key not in _OF_OTHERS:
                yield from _walk(value, f'{path}.{key}', classes)


def _check(node: Mapping, path: str, classes: Mapping[str, list]) -> Iterator[str]:
    kind = node.get('type')
    found: Sequence[Any]
    if kind is None:
        found, taken = _LOOPS.get(path, ()), _TAKEN.get(path, set())
        if path.endswith('_dataloader'):
            found, taken = (DataLoader,), _OF_LOADERS
    else:
        name = type_name(kind)
        found = [kind] if callable(kind) else classes.get(name, [])
        near = close_names(name, classes, likeness=_SURE) if not found else []
        if near:
            yield f'{path}.type={kind!r}: nothing of that name is registered; nearest: {near[0]!r}'
        taken = _TAKEN.get(path.split('.')[0], set())
    if not found:
        return
    allowed = [parameters(each) for each in found]
    names = set().union(*(names for names, _ in allowed), taken)
    takes_others = any(takes_others for _, takes_others in allowed)
    for key in node:
        if (
            key in names
            or key in ('type', '_scope_')
            or (takes_others and not close_names(key, names, likeness=_NEAR))
        ):
            continue
        yield not_taken(f'{path}.{key}', found[0].__name__, key, names)


def not_taken(where: str, kind: str, key: str, names: Collection[str]) -> str:
    """Return the line to show for an argument that a class does not take.

    Args:
        where (str): Where in the config it is.
        kind (str): The class.
        key (str): The argument.
        names (Collection[str]): Those that it takes.
    """
    return f'{where}: {kind} takes no {key!r}; nearest: {nearest(key, sorted(names))}'


def parameters(function: Callable) -> tuple[set[str], bool]:
    """Return the names of the arguments that a class or function takes, and if it takes others.

    Args:
        function (Callable): A class passes what it does not name on to one that it inherits.
    """
    if not inspect.isclass(function):
        return _named(function)
    own = [vars(cls).get('__init__') for cls in function.__mro__[:-1]]
    found = [_named(init) for init in own if init is not None]
    if not found or found[0][1]:
        return (
            set().union(*(names for names, _ in found)) - {'args', 'kwargs', 'self'},
            all(takes_others for _, takes_others in found),
        )
    return found[0][0] - {'self'}, False


def _named(function: Callable) -> tuple[set[str], bool]:
    """Return the names of a function's arguments, and whether it takes others, too."""
    try:
        arguments = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return set(), True
    return (
        {argument.name for argument in arguments},
        any(argument.kind is argument.VAR_KEYWORD for argument in arguments),
    )


def registered(scope: str) -> dict[str, list]:
    """Return all classes that are registered under a name, in whatever registry.

    Args:
        scope (str): The scope of a config, whose package is imported.

    Returns:
        dict[str, list]: Classes and functions by name.
    """
    with suppress(ImportError):
        import_module(f'{scope}.registry')
    found: dict[str, list] = {}
    roots = [value for value in vars(root).values() if isinstance(value, Registry)]
    while roots:
        registry = roots.pop()
        registry.import_from_location()
        roots += registry.children.values()
        for name, cls in registry.module_dict.items():
            if cls not in found.setdefault(name, []):
                found[name].append(cls)
    return found
