"""The config files of this package: where they are, which there are, and copies of them."""

import ast
import os.path as osp
import re
from itertools import takewhile
from pathlib import Path

from .errors import UserError
from .values import nearest

CONFIGS = Path(__file__).parent / 'configs'
_BASES = CONFIGS / '_base_'


def base(name: str) -> str:
    """Return the path of a file of ``configs/_base_``, for the ``_base_`` of a config anywhere.

    .. code-block:: python

        _base_ = ['mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py',
                  __import__('mmadapt').base('peft/lora.py')]

    Args:
        name (str): The file, such as ``'peft/lora.py'``.

    Returns:
        str: The absolute path.

    Raises:
        UserError: There is no such file; the message names the nearest.
    """
    return str(_find(name, _BASES))


def inherited(name: str) -> str:
    """Return what inherits a file of ``configs/_base_``, as a config says it; for messages."""
    return f"__import__('mmadapt').base('{_find(name, _BASES).relative_to(_BASES).as_posix()}')"


def config_names() -> list[str]:
    """Return the names of all files: those to inherit begin with ``_base_/``."""
    return [
        file.relative_to(CONFIGS).as_posix()
        for file in sorted(CONFIGS.rglob('*.py'))
        if file.name != '__init__.py'
    ]


def first_sentence(name: str) -> str:
    """Return the first sentence of the comment that one of :func:`config_names` begins with."""
    lines = (CONFIGS / name).read_text(encoding='utf-8').splitlines()
    comment = ' '.join(line[2:] for line in takewhile(lambda line: line.startswith('# '), lines))
    return re.split(r'(?<=[.]) ', comment, maxsplit=1)[0]


def copy_of(name: str, place: str) -> tuple[Path, str]:
    """Return a copy of a file, such that it works wherever it lies.

    What the file inherits by a path relative to itself, the copy inherits by :func:`base`.

    Args:
        name (str): One of :func:`config_names`.
        place (str): The folder it is to be in, or the new file.

    Returns:
        tuple[Path, str]: Where it is to be written, and its text.

    Raises:
        UserError: There is no such file, or the place is none for a config.
    """
    source = _find(name, CONFIGS)
    copy = Path(place)
    if copy.is_dir() or place.endswith(('/', osp.sep)):
        copy /= source.name
    elif copy.suffix != '.py':
        raise UserError(f'{place} is no folder, nor does it end with .py, as a config does')
    return copy, _with_bases(source)


def _find(name: str, folder: Path) -> Path:
    file = folder / name
    if file.suffix == '.py' and file.is_file() and folder in file.resolve().parents:
        return file
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob('*.py'))]
    raise UserError(
        f'mmadapt has no config {name!r}; nearest: {nearest(name, names)}; '
        '`mmadapt configs list` names all'
    )


def _with_bases(source: Path) -> str:
    """Return the text of a config with what it inherits from beside itself named by ``base``."""
    text = source.read_text(encoding='utf-8')
    lines = text.splitlines(keepends=True)
    for node, name in reversed(_inherited(text)):
        if '::' in name:
            continue
        path = Path(osp.normpath(source.parent / name))
        call = inherited(path.relative_to(_BASES).as_posix())
        line = lines[node.lineno - 1]
        lines[node.lineno - 1] = line[: node.col_offset] + call + line[node.end_col_offset :]
    return ''.join(lines)


def _inherited(text: str) -> list[tuple[ast.Constant, str]]:
    for statement in ast.parse(text).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == '_base_':
            return [
                (node, node.value)
                for node in ast.walk(statement.value)
                if isinstance(node, ast.Constant) and isinstance(node.value, str)
            ]
    return []
