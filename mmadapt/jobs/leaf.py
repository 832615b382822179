"""The text of a config that inherits others and says only what differs from them."""

import keyword
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config
from yapf.yapflib.yapf_api import FormatCode

_STYLE = dict(based_on_style='pep8', column_limit=100, split_before_first_argument=True)
# In which order a reader looks for them; what is not in it stands before.
_ORDER = (
    'load_from',
    'resume',
    'model',
    'peft',
    'memory',
    'train_dataloader',
    'val_dataloader',
    'test_dataloader',
    'val_evaluator',
    'test_evaluator',
    'optim_wrapper',
    'auto_scale_lr',
    'param_scheduler',
    'train_cfg',
    'val_cfg',
    'test_cfg',
    'runner_type',
    'strategy',
    'randomness',
    'log_processor',
    'work_dir',
    'default_hooks',
    'custom_imports',
    'custom_hooks',
)
_FEW = 3  # values that are shorter than their name


class _Names:
    """What inherited values are called, to write the name where it is shorter.

    Args:
        base (Mapping): What is inherited.
    """

    def __init__(self, base: Mapping) -> None:
        self._known = [
            (name, value)
            for key, one in base.items()
            for name, value in _parts(f'_base_.{key}', one)
            if _size(value) >= _FEW
        ]
        # The largest first, a data set before its meta information; of two equal ones the one with
        # the shortest name.
        self._known.sort(key=lambda pair: (-_size(pair[1]), len(pair[0])))

    def of(self, value) -> str | None:
        """Return the name of a value."""
        return next((name for name, known in self._known if same(known, value)), None)

    def within(self, value: Mapping) -> tuple[str, Mapping] | None:
        """Return the name and the value of the largest dict that another holds all of."""
        for name, known in self._known:
            if isinstance(known, dict) and all(
                key in value and same(known[key], value[key]) for key in known
            ):
                return name, known
        return None


def _parts(name: str, value) -> Iterator[tuple[str, Any]]:
    """Yield a value and what is in it, with names as a config has them."""
    if isinstance(value, dict):
        yield name, value
        for key, one in value.items():
            if _is_name(key) and not hasattr(dict, key):
                yield from _parts(f'{name}.{key}', one)
    elif isinstance(value, (list, tuple)):
        yield name, value
        for index, one in enumerate(value):
            yield from _parts(f'{name}[{index}]', one)


def _size(value) -> int:
    if isinstance(value, Mapping):
        return sum(map(_size, value.values())) + len(value)
    if isinstance(value, (list, tuple)):
        return sum(map(_size, value)) + 1
    return 1


def same(one, other) -> bool:
    """Return whether two values of configs are equal, lists and tuples, 1 and True told apart."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return (
            isinstance(one, list) == isinstance(other, list)
            and len(one) == len(other)
            and all(map(same, one, other))
        )
    return type(one) is type(other) and one == other


def changes(base: Config, wanted: Config) -> str:
    """Return the statements by which a config becomes another.

    Args:
        base (Config): What is inherited.
        wanted (Config): What it is to become. It has all top-level names of ``base``.

    Returns:
        str: Lines of Python.
    """
    names = _Names({key: value for key, value in base.items() if not key.startswith('_')})
    lines = []
    for key in sorted(wanted, key=lambda name: _ORDER.index(name) if name in _ORDER else 0):
        value = wanted[key]
        if key not in base:
            lines.append(f'{key} = {_literal(value, names)}')
        elif not same(base[key], value):
            lines.append(f'{key} = {_change(base[key], value, names)}')
    text, _ = FormatCode('\n'.join(lines) + '\n', style_config=_STYLE)
    return text


def _change(have, want, names: _Names) -> str:
    if not isinstance(want, dict):
        return _literal(want, names)
    if not isinstance(have, dict):
        return _dict({'_delete_': 'True', **_texts(want, names)})
    lost = any(key not in want for key in have)
    if lost:
        ways = [_dict({'_delete_': 'True', **_texts(want, names)})]
    else:
        ways = [_dict(_differences(have, want, names))]
    known = names.within(want)
    if known:
        name, there = known
        rest = {
            key: value
            for key, value in want.items()
            if key not in there and (lost or key not in have or not same(have[key], value))
        }
        ways.append(_dict({**({'_delete_': 'True'} if lost else {}), **_texts(rest, names)}, name))
    return min(ways, key=len)


def _differences(have: Mapping, want: Mapping, names: _Names) -> dict[Any, str]:
    return {
        key: _change(have[key], value, names) if key in have else _literal(value, names)
        for key, value in want.items()
        if key not in have or not same(have[key], value)
    }


def _texts(value: Mapping, names: _Names) -> dict[Any, str]:
    return {key: _literal(one, names) for key, one in value.items()}


def _dict(texts: Mapping[Any, str], inside: str = '') -> str:
    """Return a dict of texts, and of what is in another one."""
    if all(_is_name(key) for key in texts):
        parts = [*([inside] if inside else []), *(f'{key}={text}' for key, text in texts.items())]
        return f'dict({", ".join(parts)})'
    parts = [f'**{inside}'] if inside else []
    return f'{{{", ".join([*parts, *(f"{key!r}: {text}" for key, text in texts.items())])}}}'


def _is_name(key) -> bool:
    return isinstance(key, str) and key.isidentifier() and not keyword.iskeyword(key)


def _literal(value, names: _Names) -> str:
    name = names.of(value) if isinstance(value, (dict, list, tuple)) else None
    if name:
        return name
    if isinstance(value, dict):
        return _dict(_texts(value, names))
    if isinstance(value, (list, tuple)):
        inner = ', '.join(_literal(item, names) for item in value)
        if isinstance(value, list):
            return f'[{inner}]'
        return f'({inner}{"," * (len(value) == 1)})'
    return repr(value)
