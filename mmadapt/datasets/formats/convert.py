"""From a folder of labels in another format to COCO files, which everything else reads."""

import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import UserError
from ..layout import annotation_candidates
from ..problems import Kind, Problems
from . import cvat, labelme, voc, yolo
from .coco_files import class_order, shard, write_coco
from .labeled import UNSPLIT, LabeledFolder

FORMATS: tuple[Any, ...] = (yolo, voc, cvat, labelme)

MIXED = Kind(
    'warning',
    'images that are in no split',
    'they are not used; move them to the folder of a split',
)
NOTHING_LEARNED = Kind('error', 'no images, or no objects in them', 'label them first')


@dataclass
class Converted:
    """What became of a folder in another format.

    Args:
        format (str): What the format is called.
        classes (tuple[str, ...]): The classes in the order of their labels.
        order (str): Where this order is from.
        files (dict[str, Path]): The COCO file of each split; none where there are errors.
        problems (Problems): What was found.
    """

    format: str
    classes: tuple[str, ...]
    order: str
    files: dict[str, Path]
    problems: Problems


def convert(
    folder: Path,
    wanted: tuple[str, ...],
    fraction: float | None,
    seed: int,
    overwrite: bool,
) -> Converted | None:
    """Write COCO files for a folder of YOLO, Pascal VOC, CVAT or LabelMe labels.

    Args:
        folder (Path): The data set folder.
        wanted (tuple[str, ...]): The splits to read.
        fraction (float | None): Which share of the training images is for validation, where the
            folder has no validation split.
        seed (int): Chooses these images.
        overwrite (bool): Whether a file that is there and differs may be replaced.

    Returns:
        Converted | None: What was written; None where the folder is not in one of these formats.

    Raises:
        UserError: globox is not installed, the classes have no names, the images need to be
            sharded and cannot, or a file is there and differs.
        WriteError: A file cannot be written.
    """
    if not folder.is_dir() or _has_coco(folder):
        return None
    for kind in FORMATS:
        found = kind.recognize(folder)
        if found is not None:
            break
    else:
        return None
    problems = Problems()
    labeled = kind.read(folder, found, wanted, problems)
    if not problems.has_errors:
        _check_splits(labeled, kind.SPLITTING, folder, fraction, seed, problems)
    classes = class_order(labeled)
    if not classes and not problems.has_errors:
        problems.add(NOTHING_LEARNED, str(folder))
    written: dict[str, Path] = {}
    if not problems.has_errors:
        written = write_coco(labeled, classes, folder, overwrite)
    order = f'in the order of {labeled.classes_from}' if labeled.classes else 'sorted'
    return Converted(labeled.format, classes, order, written, problems)


def _has_coco(folder: Path) -> bool:
    """Return whether a folder has an annotation file of COCO's for training or validation."""
    candidates = [p for split in ('train', 'val') for p in annotation_candidates(folder, split)]
    return any(map(_is_coco, candidates))


def _is_coco(path: Path) -> bool:
    """Return whether a JSON file looks like COCO's, without parsing it."""
    with open(path, 'rb') as file:
        if not path.stat().st_size:
            return False
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return all(content.find(key) >= 0 for key in (b'"images"', b'"annotations"'))


def _check_splits(
    labeled: LabeledFolder,
    splitting: str,
    folder: Path,
    fraction: float | None,
    seed: int,
    problems: Problems,
) -> None:
    """Shard what has no validation split, where asked; report what cannot be used."""
    splits = labeled.splits
    rest = splits.pop(UNSPLIT, [])
    if rest and splits:
        for image in rest:
            problems.add(MIXED, str(folder), image.path.relative_to(folder).as_posix())
    elif rest:
        splits['train'] = rest
    if fraction is None:
        missing = [split for split in ('train', 'val') if split not in splits]
        if missing:
            names = dict(train='training', val='validation')
            raise UserError(
                f'{folder} is in {labeled.format} format and has no {names[missing[-1]]} split: '
                '--val-fraction 0.2 takes a fifth of the training images for validation, always '
                f'the same, or {splitting}'
            )
        return
    if not 0 < fraction < 1:
        raise UserError(f'--val-fraction {fraction} is no share of the images, such as 0.2')
    if 'val' in splits:
        raise UserError(
            f'{folder} has a validation split already: leave out --val-fraction, or take the split '
            'away'
        )
    splits['train'], splits['val'] = shard(splits.get('train', []), fraction, seed, folder)
    if not splits['train'] or not splits['val']:
        count = len(splits['train']) + len(splits['val'])
        raise UserError(
            f'--val-fraction {fraction} of {count} images leaves a split without any: choose '
            'another one, or another --seed'
        )
