"""The names of YOLO's class numbers, and where its splits are: data.yaml, obj.data or a list."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ...errors import UserError
from ...values import is_integer

_SPLITS = {'train': 'train', 'val': 'val', 'valid': 'val', 'validation': 'val', 'test': 'test'}
_LISTS = ('classes.txt', 'obj.names', 'labels/classes.txt', 'data/obj.names')


@dataclass
class Names:
    """What a folder says of itself.

    Args:
        classes (Any): Names by class number, a dict, or a list of them; None where there are none.
        source (str): The file that names them.
        splits (dict[str, list[str]]): Folders or lists of images by split, as they are written.
        roots (list[Path]): What these may be relative to.
        keypoint_values (int): How many numbers of keypoints follow a box.
    """

    classes: Any
    source: str
    splits: dict[str, list[str]] = field(default_factory=dict)
    roots: list[Path] = field(default_factory=list)
    keypoint_values: int = 0

    def checked(self, folder: Path) -> dict[int, str]:
        """Return the names by class number, in ascending order.

        Args:
            folder (Path): The data set folder, for messages.

        Raises:
            UserError: There are none, or they are no names.
        """
        names = self.classes
        if not names:
            raise UserError(
                f'{folder} has YOLO labels and no names for their class numbers: write data.yaml, '
                'names: [cat, dog], or classes.txt with a name a line, in the order of the numbers'
            )
        if isinstance(names, list):
            names = dict(enumerate(names))
        for number, name in names.items() if isinstance(names, dict) else [(None, names)]:
            if not (is_integer(number) or str(number).isdigit()):
                raise UserError(
                    f'{self.source}: names has to be a list of names, or have class numbers as '
                    f'keys; got {number if number is not None else names!r}'
                )
            if not isinstance(name, str) and not is_integer(name):
                raise UserError(
                    f'{self.source}: the name of class {number} is read as {name!r}; write it in '
                    "quotes, such as 'yes'"
                )
        return {int(number): str(names[number]) for number in sorted(names, key=int)}


def read_names(folder: Path) -> Names | None:
    """Return what a folder says of its classes, None where it has no file of YOLO's.

    Args:
        folder (Path): The data set folder.

    Raises:
        UserError: A file cannot be read, or there are several and none is called data.yaml.
    """
    files = sorted([*folder.glob('*.yaml'), *folder.glob('*.yml')])
    found = {path: content for path in files if (content := _load(path)) is not None}
    if found:
        path = next((p for p in found if p.stem == 'data'), next(iter(found)))
        if len(found) > 1 and path.stem != 'data':
            listed = ', '.join(p.name for p in found)
            raise UserError(f'{folder} has {listed}: call the one to read data.yaml')
        return _from_yaml(path, found[path])
    if (folder / 'obj.data').is_file():
        return _from_darknet(folder / 'obj.data')
    for name in _LISTS:
        path = folder / name
        if path.is_file():
            return Names(_lines(path), str(path))
    return None


def _load(path: Path) -> dict | None:
    """Return the content of a file if it is one of YOLO's."""
    try:
        # Not mmengine's loader, which runs what a file says.
        content = yaml.safe_load(path.read_text(encoding='utf-8-sig'))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        said = ' '.join(str(error).split())
        raise UserError(f'{path} cannot be read: {said}; correct it or take it away') from None
    known = isinstance(content, dict) and ('names' in content or 'nc' in content)
    return content if known and any(key in content for key in _SPLITS) else None


def _from_yaml(path: Path, content: dict) -> Names:
    splits = {
        _SPLITS[key]: [str(entry) for entry in (value if isinstance(value, list) else [value])]
        for key, value in content.items()
        if key in _SPLITS and value
    }
    root = Path(str(content.get('path') or '.'))
    shape = content.get('kpt_shape') or [0]
    values = shape[0] * shape[-1] if all(map(is_integer, shape)) else 0
    # The folder that was named before the one that a copy of the file may still name.
    return Names(content.get('names'), str(path), splits, [path.parent, path.parent / root], values)


def _from_darknet(path: Path) -> Names:
    """Read CVAT's export: obj.data names train.txt, valid.txt and obj.names."""
    parts = [line.partition('=') for line in _lines(path)]
    pairs = {key.strip(): value.strip() for key, _, value in parts}
    splits = {_SPLITS[key]: [value] for key, value in pairs.items() if key in _SPLITS}
    named = pairs.get('names', 'obj.names')
    names = next(
        (p for p in (path.parent / named, path.parent / Path(named).name) if p.is_file()), None
    )
    return Names(names and _lines(names), str(names or path), splits, [path.parent])


def _lines(path: Path) -> list[str]:
    text = path.read_text(encoding='utf-8-sig')
    return [line.strip() for line in text.splitlines() if line.strip()]
