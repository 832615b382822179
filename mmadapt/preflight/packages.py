"""Packages that a config names and that are not installed."""

from collections.abc import Iterator, Mapping
from importlib.util import find_spec

from ..errors import UserError
from ..extras import remedy


def check_packages(cfg: Mapping) -> None:
    """Check that the libraries whose parts a config names are there.

    Without one MMEngine looks for its parts in other libraries, which have some of the same names,
    or says that nothing of a name is registered.

    Args:
        cfg (dict or Config): A whole config.

    Raises:
        UserError: One that an extra brings is not installed.
    """
    scope = cfg.get('default_scope') or ''
    named = [('default_scope', scope, scope)] if scope else []
    # Config itself is no Mapping.
    for place, kind, package in [*named, *_scopes(getattr(cfg, '_cfg_dict', cfg), '')]:
        command = remedy(package)
        if command and find_spec(package) is None:
            raise UserError(f'{place}={kind!r} is of {package}, which is not installed{command}')


def _scopes(node, path: str) -> Iterator[tuple[str, str, str]]:
    """Yield where a `type` names a library, the type, and the library."""
    if isinstance(node, Mapping):
        kind = node.get('type')
        if isinstance(kind, str) and '.' in kind:
            yield f'{path}type', kind, kind.partition('.')[0]
    children = node.items() if isinstance(node, Mapping) else enumerate(node)
    for key, value in children:
        if isinstance(value, (Mapping, list, tuple)):
            yield from _scopes(value, f'{path}{key}.')
