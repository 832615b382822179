"""Whether a value of a config is one of those allowed, and what is said where it is not.

Every check names the key, the value, and what to write instead.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import TypeGuard

from .errors import UserError

# What torch takes for a size.
_MOST = 2**63 - 1


def check_together(*checks: Callable[[], object]) -> None:
    """Run checks, and raise all that they find as one error.

    Raises:
        UserError: What was found, a line each.
    """
    found = []
    for check in checks:
        try:
            check()
        except UserError as error:
            found.append(str(error))
    if found:
        raise UserError('\n'.join(found))


def is_number(value) -> TypeGuard[float]:
    """Return whether a value is a number; True is none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_integer(value) -> TypeGuard[int]:
    """Return whether a value is an integer; True is none."""
    return isinstance(value, int) and not isinstance(value, bool)


def close_names(value, names: Iterable[str], most: int = 1, likeness: float = 0.6) -> list[str]:
    """Return the names that a wrong one may have been meant for, the nearest first.

    Args:
        value: The wrong one.
        names (Iterable[str]): The right ones.
        most (int): How many to return at the most. Defaults to 1.
        likeness (float): How alike they have to be, from 0 to 1. Defaults to 0.6.
    """
    return get_close_matches(str(value), [str(name) for name in names], n=most, cutoff=likeness)


def nearest(value, names: Iterable[str], most: int = 1) -> str:
    """Return the names that a wrong one is nearest to, as they are written in a message.

    Args:
        value: The wrong one.
        names (Iterable[str]): The right ones.
        most (int): How many to return at the most. Defaults to 1.
    """
    return ', '.join(map(repr, close_names(value, names, most, likeness=0.0))) or 'none'


def nearest_module(value: str, names: Iterable[str], others: Iterable[str] = ()) -> str:
    """Return the names of modules that a wrong one is nearest to, as they are in a message.

    A suffix such as ``qkv2`` is nearest to other suffixes, a full name to other full names.

    Args:
        value (str): The wrong one.
        names (Iterable[str]): The full names of the modules.
        others (Iterable[str]): What they may be called as well. Defaults to nothing.
    """
    depth = value.count('.') + 1
    known = dict.fromkeys(others)
    for name in filter(None, names):
        known |= {name: None, '.'.join(name.split('.')[-depth:]): None}
    return nearest(value, known, most=3)


def check_dict(where: str, value, example: str = '') -> None:
    """Check that a value is a dict.

    Args:
        where (str): What has this value.
        value: The value.
        example (str): A right one, for the message. Defaults to ''.

    Raises:
        UserError: It is something else.
    """
    if not isinstance(value, Mapping):
        raise UserError(f'{where} must be a dict{example and f" such as {example}"}, got {value!r}')


def check_keys(
    where: str,
    cfg,
    names: Sequence[str],
    others: Mapping[str, str] | None = None,
    owner: str = '',
    hint: str = '',
) -> None:
    """Check the keys of a dict.

    Args:
        where (str): What it is the value of, such as ``'peft.method'``.
        cfg (dict): The dict.
        names (Sequence[str]): The keys that it may have.
        others (Mapping[str, str], optional): What to say of some other keys, such as those that
            another library has.
        owner (str): Whose keys they are, for the message. Defaults to ''.
        hint (str): What else may be the reason. Defaults to ''.

    Raises:
        UserError: It is no dict, or another key is in it.
    """
    check_dict(where, cfg)
    for key in cfg:
        if not isinstance(key, str):
            raise UserError(f'{where} has the key {key!r}, which is no string; all: {[*names]}')
        if key not in names:
            said = (others or {}).get(
                key
            ) or f'nearest: {nearest(key, names)}, all: {[*names]}{hint}'
            raise UserError(f'{where} has no key {key!r}{owner}; {said}')


def check_one_of(where: str, value, allowed: Sequence, otherwise: str = '') -> None:
    """Check that a value is one of several.

    Args:
        where (str): What has this value, for the message.
        value: The value.
        allowed (Sequence): The values that it may have.
        otherwise (str): What else the message says. Defaults to ''.

    Raises:
        UserError: It is another one.
    """
    # By type too: 1 is no True, 0.0 no None.
    if not any(type(value) is type(one) and value == one for one in allowed):
        near = f'; nearest: {nearest(value, allowed)}' if isinstance(value, str) else ''
        raise UserError(f'{where}={value!r} is not one of {[*allowed]}{near}{otherwise}')


def check_flag(where: str, value) -> None:
    """Check that a value is True or False.

    Args:
        where (str): What has this value, for the message.
        value: The value.

    Raises:
        UserError: It is something else.
    """
    if not isinstance(value, bool):
        raise UserError(f'{where} must be True or False, got {value!r}')


def check_count(where: str, value, least: int = 1) -> None:
    """Check that a value is an integer of at least ``least``.

    Args:
        where (str): What has this value, for the message.
        value: The value.
        least (int): The smallest one allowed. Defaults to 1.

    Raises:
        UserError: It is something else.
    """
    if not is_integer(value) or not least <= value <= _MOST:
        raise UserError(f'{where} must be an integer of at least {least}, got {value!r}')


def check_number(where: str, value, allowed: Callable[[float], bool], what: str) -> None:
    """Check that a value is a number, and one of those allowed.

    Args:
        where (str): What has this value.
        value: The value.
        allowed (Callable): Returns whether a number is one of them.
        what (str): Which ones they are, for the message.

    Raises:
        UserError: It is something else.
    """
    fits = is_number(value) and (isinstance(value, float) or abs(value) <= _MOST)
    if not fits or math.isnan(value) or not allowed(value):
        raise UserError(f'{where} must be {what}, got {value!r}')


def check_text(where: str, value, what: str) -> None:
    """Check that a value is a string that is not empty.

    Args:
        where (str): What has this value, for the message.
        value: The value.
        what (str): What it has to be, for the message.

    Raises:
        UserError: It is something else.
    """
    if not isinstance(value, str) or not value:
        raise UserError(f'{where} must be {what}, got {value!r}')


def check_list(where: str, value, kinds: tuple[type, ...], what: str, least: int = 0) -> None:
    """Check that a value is a list, and what is in it.

    Args:
        where (str): What has this value.
        value: The value.
        kinds (tuple[type]): What its items may be.
        what (str): What they are, for the message.
        least (int): How many there have to be. Defaults to 0.

    Raises:
        UserError: It is something else.
    """
    if not isinstance(value, (list, tuple)) or len(value) < least:
        raise UserError(f'{where} takes a list of {what}; got {value!r}')
    for item in value:
        if not isinstance(item, kinds):
            raise UserError(f'{where} takes a list of {what}; {item!r} is none')


def check_patterns(where: str, value, check: Callable[[str, object], None]) -> None:
    """Check what is said of layers by patterns of their names.

    Args:
        where (str): What has this value.
        value (dict, optional): The value.
        check (Callable): Checks one of its values; gets what has it, too.

    Raises:
        UserError: It is no dict of patterns, or one of its values is wrong.
    """
    if value is not None:
        check_dict(where, value, "{'backbone': 4}, by name, suffix or regular expression of layers")
    for pattern, one in (value or {}).items():
        check_text(f'{where}: a key', pattern, 'a name, suffix or regular expression of layers')
        check(f'{where}[{pattern!r}]', one)
