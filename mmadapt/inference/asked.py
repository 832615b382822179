"""Which adapters of a base are asked for, by name, and what is said where one is not there."""

from collections.abc import Mapping
from pathlib import Path

from ..errors import UserError
from ..files import is_adapter
from ..values import close_names

BASE = 'none'
"""The name under which the base itself is asked for."""


def parse_adapters(words: list[str]) -> dict[str, str]:
    """Read what was typed behind ``--adapters``.

    Args:
        words (list[str]): ``none``, and ``NAME=FOLDER``.

    Returns:
        dict[str, str]: Folders by name; that of the base is ''.

    Raises:
        UserError: One is neither, or a name comes twice.
    """
    adapters: dict[str, str] = {}
    for word in words:
        name, equals, folder = word.partition('=')
        if word == BASE:
            folder = ''
        elif not (equals and name and folder):
            raise UserError(
                f'--adapters {word}: neither NAME=FOLDER nor {BASE}, which is the base; for '
                f'instance --adapters {BASE} face=work_dirs/face/adapter'
            )
        elif name == BASE:
            raise UserError(f'--adapters {word}: {BASE} is the base itself; choose another name')
        if name in adapters:
            raise UserError(f'--adapters names {name} twice')
        adapters[name] = folder
    return adapters


def check_adapters(adapters: Mapping[str, str]) -> None:
    """Check that the adapters that are asked for are there.

    Args:
        adapters (Mapping[str, str]): Folders by name; '' for the base, which is called 'none'.

    Raises:
        UserError: One is not; or a name is of the base and the folder is not, or the other way
            round.
    """
    for name, folder in adapters.items():
        if (name == BASE) != (not folder):
            raise UserError(
                f'{name}={folder}: {BASE} is the base itself, without a folder; choose another name'
                if folder
                else f'{name} has no folder: the base itself is called {BASE}'
            )
        if folder and not is_adapter(folder):
            raise UserError(
                f'{name}={folder}: there is no adapter folder {folder}{nearest_adapter(folder)}'
            )


def nearest_adapter(folder: str) -> str:
    """Return the adapter folder that a wrong path may have been meant for, for a message.

    Args:
        folder (str): The path as it was written.

    Returns:
        str: ``'; nearest: work_dirs/face/adapter'``, or nothing.
    """
    path = Path(folder)
    # What is named may be the folder that the adapter is in, or one beside it.
    inside = sorted(str(each) for each in path.glob('*') if is_adapter(str(each)))
    beside = {each.name: str(each) for each in path.parent.glob('*') if is_adapter(str(each))}
    near = inside or [beside[name] for name in close_names(path.name, beside)]
    return f'; nearest: {near[0]}' if near else ''
