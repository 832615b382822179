"""CVAT for images 1.1: one XML file, or one a split, with all images."""

import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ...errors import UserError
from ..image_checks import MISSING
from ..problems import Problems
from .labeled import (
    BAD_LABEL,
    LEFT_OUT,
    PAINTED,
    TURNED,
    UNSPLIT,
    LabeledFolder,
    LabeledImage,
    LabeledObject,
    around,
    box_parser,
    image_size,
    parse,
    split_folders,
    split_named,
)
from .xml_files import find_image, read_xml, root_tag

FORMAT = 'CVAT'
SPLITTING = 'give the images subsets in CVAT, or save train.xml and val.xml'


def recognize(folder: Path) -> list[Path] | None:
    """Return the files of this format in a folder, None where there is none."""
    folders = [child for children in split_folders(folder).values() for child in children]
    found = [
        path
        for place in (folder, folder / 'annotations', *folders)
        for path in sorted(place.glob('*.xml'))
        if root_tag(path) == 'annotations'
    ]
    return found or None


def read(
    folder: Path, files: list[Path], wanted: tuple[str, ...], problems: Problems
) -> LabeledFolder:
    """Read a folder.

    Args:
        folder (Path): The data set folder.
        files (list[Path]): What :func:`recognize` found.
        wanted (tuple[str, ...]): The splits to read.
        problems (Problems): Takes what is wrong.

    Returns:
        LabeledFolder: What was labeled.

    Raises:
        UserError: A file has tracks of a video, or globox is not installed.
    """
    parser = box_parser(folder, FORMAT)
    splits: dict[str, list[LabeledImage]] = {}
    for path in files:
        root = read_xml(path, problems)
        if root is None:
            continue
        if root.find('track') is not None:
            raise UserError(
                f'{path} has the tracks of a video, without names of images: export it from CVAT '
                'as "CVAT for images 1.1", with images'
            )
        named = split_named([path.stem, *path.relative_to(folder).parts[:-1]])
        for node in root.iter('image'):
            split = split_named([node.get('subset') or '']) or named
            if split in wanted or split == UNSPLIT:
                image = _read_image(node, path, folder, parser, problems)
                splits.setdefault(split, []).extend([image] if image else [])
    return LabeledFolder(FORMAT, splits)


def _read_image(
    node: ElementTree.Element, path: Path, folder: Path, parser: Any, problems: Problems
) -> LabeledImage | None:
    name, subset = node.get('name') or '', node.get('subset') or ''
    roots = [path.parent / 'images', path.parent, folder / 'images', folder]
    image = find_image(folder, [p / subset for p in roots] + roots, [name])
    if image is None:
        problems.add(MISSING, str(path), name)
        return None
    said = [node.get(key, '') for key in ('width', 'height')]
    known = all(text.isdigit() for text in said)
    size = (int(said[0]), int(said[1])) if known else image_size(image, problems)
    found = [_read_shape(shape, name, path, parser, problems) for shape in node]
    return size and LabeledImage(image, size, [each for each in found if each])


def _read_shape(
    node: ElementTree.Element, name: str, path: Path, parser: Any, problems: Problems
) -> LabeledObject | None:
    label = (node.get('label') or '').strip()
    where = f'{name}: {node.tag} {label!r}'
    if node.get('outside') == '1':
        # The object is not in this image.
        return None
    if node.tag in ('polygon', 'mask'):
        return _read_outline(node, label, where, path, problems)
    if node.tag != 'box':
        problems.add(LEFT_OUT, str(path), where)
        return None
    box = parse(lambda: parser.from_cvat(node), where, path, problems)
    turn = float(node.get('rotation') or 0)
    if box is None or not turn:
        return box and LabeledObject(label, box.ltrb)
    problems.add(TURNED, str(path), where)
    return LabeledObject(label, _upright(box.ltrb, math.radians(turn)))


def _read_outline(
    node: ElementTree.Element, label: str, where: str, path: Path, problems: Problems
) -> LabeledObject | None:
    """Return the object of a polygon or a painted mask, of which globox knows neither."""
    try:
        if node.tag == 'mask':
            x, y, w, h = (float(node.get(key, '')) for key in ('left', 'top', 'width', 'height'))
            problems.add(PAINTED, str(path), where)
            return LabeledObject(label, (x, y, x + w, y + h))
        points = [tuple(map(float, pair.split(','))) for pair in node.get('points', '').split(';')]
        return LabeledObject(label, around(points), [[value for pair in points for value in pair]])
    except ValueError:
        problems.add(BAD_LABEL, str(path), where)
        return None


def _upright(
    box: tuple[float, float, float, float], turn: float
) -> tuple[float, float, float, float]:
    """Return the upright box around a box that is turned about its center, by radians."""
    x1, y1, x2, y2 = box
    width, height = x2 - x1, y2 - y1
    wide = width * abs(math.cos(turn)) + height * abs(math.sin(turn))
    high = width * abs(math.sin(turn)) + height * abs(math.cos(turn))
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    return x - wide / 2, y - high / 2, x + wide / 2, y + high / 2
