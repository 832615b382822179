"""LabelMe: a JSON file an image, beside it or where its ``imagePath`` says."""

import json
import math
import mmap
import re
from pathlib import Path, PureWindowsPath
from typing import Any

from ..problems import Problems
from .labeled import (
    BAD_LABEL,
    LEFT_OUT,
    NO_IMAGE,
    PAINTED,
    TURNED,
    UNLABELED,
    UNREADABLE,
    LabeledFolder,
    LabeledImage,
    LabeledObject,
    box_parser,
    image_size,
    images_in,
    parse,
    split_named,
)
from .xml_files import find_image

FORMAT = 'LabelMe'
SPLITTING = 'make folders train and val'


def is_labelme(path: Path) -> bool:
    """Return whether a JSON file is one of LabelMe's, without parsing it."""
    with open(path, 'rb') as file:
        if not path.stat().st_size:
            return False
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return all(re.search(rb'"%s"\s*:' % key, content) for key in (b'shapes', b'imagePath'))


def recognize(folder: Path) -> list[Path] | None:
    """Return the label files in a folder, None where there is none."""
    paths = sorted(folder.rglob('*.json'))
    return [path for path in paths if is_labelme(path)] or None


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
        UserError: globox is not installed.
    """
    parser = box_parser(folder, FORMAT)
    splits: dict[str, list[LabeledImage]] = {}
    places, known = set(), set()
    for path in files:
        split = split_named(path.relative_to(folder).parts[:-1])
        image = _read_file(path, folder, parser, problems)
        if image:
            places.add(image.path.parent)
            known.add(image.path)
            if split in wanted or not split:
                splits.setdefault(split, []).append(image)
    for place in sorted(places):
        for path in images_in(place):
            if path not in known:
                problems.add(UNLABELED, str(place), path.name)
    return LabeledFolder(FORMAT, splits)


def _read_file(path: Path, folder: Path, parser: Any, problems: Problems) -> LabeledImage | None:
    try:
        content = json.loads(path.read_text(encoding='utf-8-sig'))
        shapes, named = content['shapes'], content['imagePath']
    except (OSError, ValueError, KeyError, TypeError) as error:
        problems.add(UNREADABLE, str(path), f'{type(error).__name__}: {error}')
        return None
    names = [str(named), PureWindowsPath(str(named)).name, path.stem]
    image = find_image(folder, [path.parent], names)
    if image is None:
        problems.add(NO_IMAGE, str(path.parent), f'{path.name}: {named}')
        return None
    width, height = content.get('imageWidth'), content.get('imageHeight')
    size = (width, height) if width and height else image_size(image, problems)
    objects = [_read_shape(shape, path, parser, problems) for shape in shapes]
    return size and LabeledImage(image, size, _joined([o for o in objects if o]))


def _read_shape(
    shape: dict, path: Path, parser: Any, problems: Problems
) -> tuple[Any, LabeledObject] | None:
    """Return a shape's group and its object; None for a shape that is none, which is reported."""
    kind, label = shape.get('shape_type') or 'polygon', str(shape.get('label', ''))
    where = f'{kind} {label!r}'
    points = shape.get('points') or []
    group = shape.get('group_id') if kind == 'polygon' else None
    if kind == 'circle' and len(points) == 2:
        # Its center and a point of its edge, of which globox would take the corners.
        (x, y), (u, v) = points
        radius = math.hypot(u - x, v - y)
        return None, LabeledObject(label, (x - radius, y - radius, x + radius, y + radius))
    least = dict(rectangle=2, polygon=3, mask=2, rotation=4).get(kind)
    if least is None:
        problems.add(LEFT_OUT, str(path.parent), f'{path.name}: {where}')
        return None
    if len(points) < least:
        problems.add(BAD_LABEL, str(path), f'{where} has {len(points)} points')
        return None
    box = parse(lambda: parser.from_labelme(shape), where, path, problems)
    for name, found in (('mask', PAINTED), ('rotation', TURNED)):
        if kind == name:
            problems.add(found, str(path.parent), f'{path.name}: {where}')
    polygons = [[float(v) for point in points for v in point]] if box and kind == 'polygon' else []
    return box and (group, LabeledObject(label, box.ltrb, polygons))


def _joined(found: list[tuple[Any, LabeledObject]]) -> list[LabeledObject]:
    """Make one object of the polygons of a group: parts of what something else covers."""
    objects: dict[Any, LabeledObject] = {}
    for number, (group, each) in enumerate(found):
        key = (each.label, 'group', group) if group is not None else number
        known = objects.setdefault(key, each)
        if known is not each:
            x1, y1, x2, y2 = (
                pick(pair)
                for pick, pair in zip(
                    (min, min, max, max), zip(known.box, each.box, strict=True), strict=True
                )
            )
            known.box = (x1, y1, x2, y2)
            known.polygons += each.polygons
    return list(objects.values())
