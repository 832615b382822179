"""The names, and colors, of the classes of label maps."""

import re
from pathlib import Path

from ..errors import UserError

Color = tuple[int, int, int]
NAMES = (
    'classes.txt',
    'class_names.txt',
    'labels.txt',
    'labelmap.txt',
    'label_colors.txt',
    'class_dict.csv',
)
_NUMBERS = r'(\d{1,3})[\s,]+(\d{1,3})[\s,]+(\d{1,3})'


def read_class_list(folder: Path) -> tuple[Path | None, tuple[str, ...], list[Color]]:
    """Read the list of classes that lies in a data set folder.

    A line is a name, or a name with its color: ``name 128 0 0``, ``name,128,0,0``,
    ``128 0 0 name`` or CVAT's ``name:128,0,0::``. The number of its line may stand before a name.

    Args:
        folder (Path): The data set folder.

    Returns:
        tuple[Path | None, tuple[str, ...], list[Color]]: The file, if there is one; the names in
        the order of their values; their RGB colors, none unless every name has one.

    Raises:
        UserError: A name or a color stands there twice.
    """
    path = next((folder / name for name in NAMES if (folder / name).is_file()), None)
    if path is None:
        return None, (), []
    names: list[str] = []
    colors: list[Color] = []
    for line in path.read_text(encoding='utf-8-sig').splitlines():
        text = line.strip()
        if not text or text[0] == '#' or re.fullmatch(r'name\W+r\W+g\W+b', text, re.I):
            continue
        name, color = _entry(text, len(names))
        names.append(name)
        colors += [] if color is None else [color]
    check_names(str(path), names)
    if len(colors) < len(names):
        colors = []
    if len(set(colors)) < len(colors):
        twice = next(color for color in colors if colors.count(color) > 1)
        raise UserError(f'{path} gives two classes the color {twice}: give each its own')
    return path, tuple(names), colors


def check_names(where: str, names: list[str]) -> None:
    """Check that class names are there and differ.

    Args:
        where (str): What lists them, for the message.
        names (list[str]): The names.

    Raises:
        UserError: There is none, one is empty, or one stands there twice.
    """
    if not names or '' in names:
        raise UserError(f'{where} has an empty name of a class: name each, in the order of values')
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UserError(f'{where} names {twice[0]!r} twice: each class has a name of its own')


def _entry(text: str, index: int) -> tuple[str, Color | None]:
    """Take a line apart."""
    for pattern in (
        rf'(?P<name>.+?)\s*[:,\s]\s*{_NUMBERS}(:.*)?',
        rf'{_NUMBERS}[\s,]+(?P<name>.+)',
    ):
        match = re.fullmatch(pattern, text)
        if match:
            r, g, b = (int(part) for part in match.groups() if part and part.isdigit())
            return match['name'].strip(), (r, g, b)
    return re.sub(rf'^{index}\s*[:,\s]\s*(?=\S)', '', text), None
