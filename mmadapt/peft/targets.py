"""Which layers a list of names, regular expressions and layer descriptions means."""

import functools
import re
from collections.abc import Mapping
from itertools import chain

from torch import nn

from ..errors import UserError
from ..values import check_count, check_keys, check_list, check_text, check_together, nearest_module

Selector = str | Mapping
# Of a convolution, a Linear, one of GPT-2, a MultiheadAttention, an Embedding, a BatchNorm and a
# GroupNorm.
_CHANNELS = (
    ('in_channels', 'out_channels'),
    ('in_features', 'out_features'),
    ('nx', 'nf'),
    ('embed_dim', 'embed_dim'),
    ('embedding_dim', 'embedding_dim'),
    ('num_features', 'num_features'),
    ('num_channels', 'num_channels'),
)


def module_names(model: nn.Module) -> dict[nn.Module, list[str]]:
    """Return every module of ``model`` with all its names, shared modules once.

    The first name of a module is the one under which ``model.named_modules()`` lists it.
    """
    names: dict[nn.Module, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        names.setdefault(module, []).append(name)
    return names


class LayerSelector:
    """Selects layers by what they are.

    Args:
        cfg (dict): Any of ``type`` (class name, also of a base class), ``name`` (regular
            expression that the full name matches), ``groups``, ``min_groups``, ``kernel_size``
            (one number for a square kernel, or one for each dimension), ``min_channels`` and
            ``max_channels`` (of both input and output, as ``in_channels`` of a conv, deformable or
            not, ``in_features`` of a Linear).
        where (str): The config key that it comes from, for messages.

    Raises:
        UserError: A key is unknown, or its value is not one of those allowed.
    """

    KEYS = ('type', 'name', 'groups', 'min_groups', 'kernel_size', 'min_channels', 'max_channels')

    def __init__(self, cfg: Mapping, where: str) -> None:
        if not cfg:
            raise UserError(
                f'{where}: what is selected by layer takes the keys {list(self.KEYS)}, got {{}}'
            )
        check_keys(f'{where}: {dict(cfg)}', cfg, self.KEYS)
        for key, value in cfg.items():
            if key == 'type':
                check_text(f'{where}: type', value, 'the name of a class')
            elif key == 'kernel_size' and isinstance(value, (list, tuple)) and value:
                for size in value:
                    check_count(f'{where}: kernel_size', size)
            elif key != 'name':
                check_count(f'{where}: {key}', value)
        self.cfg = dict(cfg)
        self.name = _compile(cfg['name'], where) if 'name' in cfg else None

    def __call__(self, names: list[str], layer: nn.Module) -> bool:
        """Return whether the layer that has ``names`` is selected."""
        cfg = self.cfg
        channels = _channels(layer)
        groups = getattr(layer, 'groups', 1)
        kernel = getattr(layer, 'kernel_size', None) or ()
        kernel = (kernel,) if isinstance(kernel, int) else tuple(kernel)
        wanted = cfg.get('kernel_size', kernel)
        wanted = (wanted,) * len(kernel) if isinstance(wanted, int) else tuple(wanted)
        bounded = 'min_channels' in cfg or 'max_channels' in cfg
        if 'type' in cfg and cfg['type'] not in [c.__name__ for c in type(layer).__mro__]:
            return False
        if self.name and not any(self.name.fullmatch(name) for name in names):
            return False
        if groups != cfg.get('groups', groups) or groups < cfg.get('min_groups', groups):
            return False
        if 'kernel_size' in cfg and (not kernel or kernel != wanted):
            return False
        return not bounded or (
            channels is not None
            and min(channels) >= cfg.get('min_channels', 0)
            and max(channels) <= cfg.get('max_channels', float('inf'))
        )


def check_selectors(where: str, value) -> None:
    """Check a list of names, regular expressions and descriptions of layers.

    Args:
        where (str): The config key that it comes from.
        value (list): What :func:`select` takes.

    Raises:
        UserError: It is something else.
    """
    check_list(where, value, (str, Mapping), 'names, regular expressions or dicts')
    check_together(
        *(
            functools.partial(LayerSelector, selector, where)
            for selector in value
            if isinstance(selector, Mapping)
        )
    )


def select(model: nn.Module, selectors: list[Selector], where: str) -> set[nn.Module]:
    """Return the layers that ``selectors`` mean.

    A name means the module of that full name, or those whose full name ends with it; otherwise it
    is a regular expression that a full name matches. What is hit is meant with everything inside.

    Args:
        model (nn.Module): The model.
        selectors (list[str or dict]): Names, regular expressions and descriptions of layers.
        where (str): The config key they come from, for messages.

    Returns:
        set[nn.Module]: Modules that have parameters of their own.

    Raises:
        UserError: A selector hits nothing.
    """
    chosen: set[nn.Module] = set()
    names = module_names(model) if selectors else {}
    for selector in selectors:
        hits = _hits(names, selector, where)
        if not hits:
            raise UserError(_nothing_hit(names, selector, where))
        layers = {m for module in hits for m in module.modules() if has_own_parameters(m)}
        if not layers:
            kinds = sorted({type(m).__name__ for m in hits})
            raise UserError(
                f'{where}: {selector!r} means only modules without parameters, of the types {kinds}'
            )
        chosen |= layers
    return chosen


def has_own_parameters(module: nn.Module) -> bool:
    """Return whether parameters hang on the module itself, not only on what is inside it."""
    return any(p is not None for p in module._parameters.values())


def _hits(names, selector: Selector, where: str) -> list[nn.Module]:
    if isinstance(selector, Mapping):
        matches = LayerSelector(selector, where)
        return [m for m, aliases in names.items() if has_own_parameters(m) and matches(aliases, m)]
    if not isinstance(selector, str):
        raise UserError(f'{where}: {selector!r} is neither a name or regular expression nor a dict')
    exact = [
        m
        for m, aliases in names.items()
        if any(a and (a == selector or a.endswith('.' + selector)) for a in aliases)
    ]
    if exact:
        return exact
    pattern = _compile(selector, where)
    return [m for m, aliases in names.items() if any(pattern.fullmatch(a) for a in aliases if a)]


def _compile(pattern, where: str) -> re.Pattern:
    try:
        return re.compile(pattern)
    except (re.error, TypeError) as error:
        raise UserError(
            f'{where}: {pattern!r} is neither a name nor a regular expression ({error})'
        ) from None


def _nothing_hit(names, selector: Selector, where: str) -> str:
    if isinstance(selector, Mapping):
        kinds = sorted({type(m).__name__ for m in names if has_own_parameters(m)})
        return f'{where}: no layer is {dict(selector)}; the model has layers of the types {kinds}'
    near = nearest_module(selector, chain.from_iterable(names.values()))
    return f'{where}: {selector!r} matches no layer; nearest: {near}'


def _channels(layer: nn.Module) -> tuple[int, int] | None:
    # Not by class: a deformable convolution is no subclass of torch's.
    for names in _CHANNELS:
        if all(isinstance(getattr(layer, name, None), int) for name in names):
            return getattr(layer, names[0]), getattr(layer, names[1])
    return None
