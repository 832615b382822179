"""Pascal VOC: an XML file an image, in Annotations/ with lists in ImageSets/Main, or beside it."""

import os
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ..label_layout import image_files
from ..problems import Kind, Problems
from .labeled import (
    LEFT_OUT,
    NO_IMAGE,
    UNLABELED,
    UNSPLIT,
    LabeledFolder,
    LabeledImage,
    LabeledObject,
    box_parser,
    image_size,
    images_in,
    parse,
    split_folders,
)
from .xml_files import find_image, read_xml, root_tag

FORMAT = 'Pascal VOC'
SPLITTING = 'list them in ImageSets/Main/train.txt and val.txt'

FROM_ONE = Kind(
    'note',
    'pixels are counted from 1, as in VOC itself',
    'no coordinate is below 1 or has a fraction, so the first pixel is 1: a box from 1 to 20 was '
    'written as 20 pixels from 0',
)
DIFFICULT = Kind(
    'note',
    'objects marked difficult',
    'they are marked iscrowd: neither trained on nor evaluated, as in VOC',
)
LABEL_MAPS = Kind(
    'note',
    'label maps beside the boxes',
    'the boxes are read; mmadapt dataset FOLDER --classes background,NAME,... reads the maps of '
    'the images that ImageSets/Segmentation/train.txt and val.txt list',
)
IN_NO_LIST = Kind(
    'warning', 'label files that no list of ImageSets/Main names', 'they are not used'
)


def recognize(folder: Path) -> dict[str, list[Path]] | None:
    """Return the label files by split; None where the folder is not in this format."""
    own = folder / 'Annotations'
    if _files(own):
        return {UNSPLIT: _files(own)}
    found = {
        split: [path for child in children for path in _files(child) + _files(child / own.name)]
        for split, children in split_folders(folder).items()
    }
    found = {split: paths for split, paths in found.items() if paths}
    return found or ({UNSPLIT: _files(folder)} if _files(folder) else None)


def _files(folder: Path) -> list[Path]:
    paths = sorted(folder.glob('*.xml'))
    return paths if paths and root_tag(paths[0]) == 'annotation' else []


def read(
    folder: Path, files: dict[str, list[Path]], wanted: tuple[str, ...], problems: Problems
) -> LabeledFolder:
    """Read a folder.

    Args:
        folder (Path): The data set folder.
        files (dict[str, list[Path]]): What :func:`recognize` found.
        wanted (tuple[str, ...]): The splits to read.
        problems (Problems): Takes what is wrong.

    Returns:
        LabeledFolder: What was labeled.

    Raises:
        UserError: globox is not installed.
    """
    parser = box_parser(folder, FORMAT)
    every = [path for paths in files.values() for path in paths]
    stems = {path.stem for path in every}
    if UNSPLIT in files:
        files = _by_lists(folder, files[UNSPLIT], problems)
    splits: dict[str, list[LabeledImage]] = {}
    for split, paths in files.items():
        if split in wanted or split == UNSPLIT:
            found = (_read_file(path, folder, stems, parser, problems) for path in paths)
            splits[split] = [image for image in found if image]
    used = [image.path for images in splits.values() for image in images]
    places = {place for path in every for place in _image_folders(path)[:3]}
    for image in (image for place in sorted(places) for image in images_in(place)):
        if image.stem not in stems and image not in used:
            problems.add(UNLABELED, str(image.parent), image.name)
    _count_from_zero(splits, folder, problems)
    maps = folder / 'SegmentationClass'
    if maps.is_dir() and any(image_files(maps)):
        problems.add(LABEL_MAPS, str(folder), f'{maps.name}{os.sep}')
    return LabeledFolder(FORMAT, splits)


def _by_lists(folder: Path, files: list[Path], problems: Problems) -> dict[str, list[Path]]:
    """Shard label files by the lists of ImageSets/Main; without any they stay together."""
    by_stem = {path.stem: path for path in files}
    splits: dict[str, list[Path]] = {}
    for split, names in dict(train=('train', 'trainval'), val=('val',), test=('test',)).items():
        lists = [folder / 'ImageSets' / 'Main' / f'{name}.txt' for name in names]
        place = next((path for path in lists if path.is_file()), None)
        if place is None:
            continue
        stems = [line.strip() for line in place.read_text(encoding='utf-8-sig').splitlines()]
        # The lists of one class have a mark behind the name.
        stems = [s if s in by_stem else s.rsplit(maxsplit=1)[0] for s in stems if s]
        for stem in stems:
            if stem not in by_stem:
                problems.add(UNLABELED, str(place), f'{stem}: no {files[0].parent / stem}.xml')
        splits[split] = [by_stem[stem] for stem in dict.fromkeys(stems) if stem in by_stem]
    if not splits:
        return {UNSPLIT: files}
    used = {path for paths in splits.values() for path in paths}
    for path in files:
        if path not in used:
            problems.add(IN_NO_LIST, str(path.parent), path.name)
    return splits


def _image_folders(file: Path) -> list[Path]:
    around = file.parent.parent if file.parent.name == 'Annotations' else file.parent
    return [around / 'JPEGImages', around / 'images', file.parent, around]


def _read_file(
    path: Path, folder: Path, stems: set[str], parser: Any, problems: Problems
) -> LabeledImage | None:
    root = read_xml(path, problems)
    if root is None:
        return None
    # The name of the label file first: many exporters leave an older name in it, or another's.
    said = (root.findtext('filename') or '').strip()
    names = [path.stem] + [said] * (bool(said) and Path(said).stem not in stems)
    image = find_image(folder, _image_folders(path), names)
    if image is None:
        problems.add(NO_IMAGE, str(path.parent), path.name)
        return None
    size = _said_size(root) or image_size(image, problems)
    objects = [_read_object(node, path, parser, problems) for node in root.findall('object')]
    return size and LabeledImage(image, size, [each for each in objects if each])


def _said_size(root: ElementTree.Element) -> tuple[int, int] | None:
    """Return the size that the file says; none of its own where it is missing or 0."""
    try:
        width, height = (
            int(float(root.findtext(f'size/{key}') or 0)) for key in ('width', 'height')
        )
    except ValueError:
        return None
    return (width, height) if width > 0 and height > 0 else None


def _read_object(
    node: ElementTree.Element, path: Path, parser: Any, problems: Problems
) -> LabeledObject | None:
    label = (node.findtext('name') or '').strip()
    if node.find('bndbox') is None and node.find('robndbox') is not None:
        problems.add(LEFT_OUT, str(path.parent), f'{path.name}: {label}, a rotated box')
        return None
    box = parse(lambda: parser.from_xml(node), f'object {label!r}', path, problems)
    if box is None:
        return None
    difficult = (node.findtext('difficult') or '0').strip() not in ('0', 'Unspecified', '')
    if difficult:
        problems.add(DIFFICULT, str(path.parent))
    return LabeledObject(label, box.ltrb, crowd=difficult)


def _count_from_zero(
    splits: dict[str, list[LabeledImage]], folder: Path, problems: Problems
) -> None:
    """Move the boxes by a pixel where the first pixel is called 1: to where it begins."""
    objects = [each for images in splits.values() for image in images for each in image.objects]
    corners = [value for each in objects for value in each.box]
    if not corners or min(corners) < 1 or any(value != int(value) for value in corners):
        return
    problems.add(FROM_ONE, str(folder))
    for each in objects:
        x1, y1, x2, y2 = each.box
        each.box = (x1 - 1, y1 - 1, x2, y2)
