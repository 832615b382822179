"""What to write into a config that inherits another one, so that it trains as a plan has it."""

import keyword
from collections.abc import Mapping

from mmengine.config import Config

_DELETE = '_delete_'
_UNNAMED = dict(runner_type='Runner')


def lines_of(wanted: Mapping, inherited: Config) -> str:
    """Return the lines of a config that make another one of what it inherits.

    Args:
        wanted (dict or Config): The top-level keys that a run shall have.
        inherited (Config): The config in ``_base_``.

    Returns:
        str: Python; empty where the inherited config is the wanted one.
    """
    before, after = dict(inherited.items()), dict(wanted.items())
    lines = []
    for key, value in _difference(before, after).items():
        own = before.get(key)
        if key == 'custom_hooks' and value[: len(own or [])] == list(own or []):
            more = ', '.join(_source(hook) for hook in value[len(own or []) :])
            lines.append(f"custom_hooks = [*_base_.get('custom_hooks', []), {more}]")
        else:
            lines.append(f'{key} = {_source(value)}')
    return '\n'.join(lines)


def _difference(before: Mapping, after: Mapping) -> dict:
    """Return what makes ``after`` of ``before`` as MMEngine merges a config into its base."""
    changes = {
        key: _change(before, key, value)
        for key, value in after.items()
        if key not in before or before[key] != value
    }
    # What is not there and what is None are the same to everyone who reads a top-level key, but for
    # the tools, which build whatever `runner_type` names where it is there.
    return {
        **changes,
        **{
            key: _UNNAMED.get(key) for key in before if key not in after and before[key] is not None
        },
    }


def _change(before: Mapping, key: str, after):
    if not isinstance(after, Mapping) or key not in before:
        return after
    own = before[key]
    if not isinstance(own, Mapping) or own.keys() - after.keys():
        return {_DELETE: True, **after}
    return {
        name: _change(own, name, value)
        for name, value in after.items()
        if name not in own or own[name] != value
    }


def _source(value) -> str:
    if isinstance(value, Mapping):
        if all(str(key).isidentifier() and not keyword.iskeyword(key) for key in value):
            return f'dict({", ".join(f"{key}={_source(item)}" for key, item in value.items())})'
        return f'{{{", ".join(f"{key!r}: {_source(item)}" for key, item in value.items())}}}'
    if isinstance(value, (list, tuple)):
        items = ', '.join(map(_source, value))
        if isinstance(value, tuple):
            return f'({items}{"," * (len(value) == 1)})'
        return f'[{items}]'
    return repr(getattr(value, '__name__', value) if isinstance(value, type) else value)
