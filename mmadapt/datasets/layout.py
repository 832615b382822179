"""Where a COCO or Roboflow export keeps its splits, annotation files and images."""

import os
import re
from collections.abc import Sequence
from pathlib import Path, PureWindowsPath

from ..values import close_names
from .problems import Kind, Problems

# The names under which exporters save a split.
SPLIT_NAMES = {
    'train': ('train', 'training'),
    'val': ('validation', 'valid', 'val'),
    'test': ('test', 'testing'),
}
USUAL_NAMES = (
    'annotations_coco.json',
    'annotations.coco.json',
    '_annotations.coco.json',
    'annotations.json',
    'instances*.json',
)
# Written by the tool itself, so never taken for the export's own file.
FIXED_NAME = 'annotations_fixed.json'

NO_FOLDER = Kind('error', 'no such folder', 'give the folder that holds train/ and validation/')
NO_SPLIT = Kind(
    'error',
    'no annotation file found',
    'expected SPLIT/annotations_coco.json (or annotations.coco.json, _annotations.coco.json, '
    'annotations.json, instances_*.json, a single *.json) with SPLIT one of train; '
    'validation, valid, val; or annotations/instances_SPLIT*.json; or labels of YOLO (data.yaml), '
    'Pascal VOC (Annotations/*.xml), CVAT (annotations.xml) or LabelMe',
)
AMBIGUOUS = Kind('error', 'several annotation files', 'choose one')
NO_SUCH_FILE = Kind('error', 'no such annotation file', 'give a file inside the data set folder')


def words_of(name: str) -> set[str]:
    """Return letters-only parts: 'instances_train2017' gives instances and train."""
    return set(re.split('[^a-z]+', name.lower()))


def _usual(files: Sequence[Path]) -> list[Path]:
    """Return files under a usual name, or all of them when none has one."""
    usual = [f for f in files if any(f.match(name) for name in USUAL_NAMES)]
    return usual or list(files)


def annotation_candidates(folder: Path, split: str) -> list[Path]:
    """The files that may annotate a split.

    Args:
        folder (Path): The data set folder.
        split (str): 'train', 'val' or 'test'.

    Returns:
        list[Path]: Files in the split's own folder, and files named after the split in
        ``annotations/`` or in ``folder`` itself. In each place a usual name wins over any other.
    """
    names = SPLIT_NAMES[split]
    found = []
    for child in sorted(folder.iterdir()):
        if child.is_dir() and child.name.lower() in names:
            own = sorted(f for f in child.glob('*.json') if not f.name.endswith(FIXED_NAME))
            found += _usual(own)
    for place in (folder / 'annotations', folder):
        named = sorted(
            f
            for f in place.glob('*.json')
            if words_of(f.stem).intersection(names) and not f.name.endswith(FIXED_NAME)
        )
        found += _usual(named)
    return found


def find_annotations(
    folder: Path, chosen: dict[str, str | None], splits: Sequence[str], problems: Problems
) -> dict[str, Path]:
    """Find one annotation file for each split.

    Args:
        folder (Path): The data set folder.
        chosen (dict[str, str | None]): What the user asked for by split, relative to ``folder``
            or to the current directory; None leaves the choice to this function.
        splits (Sequence[str]): The splits to look for.
        problems (Problems): Takes what is missing or ambiguous.

    Returns:
        dict[str, Path]: The annotation files found. A test split is optional.
    """
    if not folder.is_dir():
        problems.add(NO_FOLDER, str(folder), 'it is a file' if folder.is_file() else '')
        return {}
    files = {}
    for split in splits:
        choice = chosen.get(split)
        if choice:
            path = _resolve_choice(folder, choice)
            if path is None:
                there = [p.relative_to(folder).as_posix() for p in folder.glob('**/*.json')]
                near = close_names(choice, there)
                hint = f'; did you mean {near[0]}?' if near else ''
                problems.add(NO_SUCH_FILE, choice, f'asked for by --{split}-ann{hint}')
            else:
                files[split] = path
            continue
        candidates = annotation_candidates(folder, split)
        if len(candidates) == 1:
            files[split] = candidates[0]
        elif candidates:
            for path in candidates:
                problems.add(
                    AMBIGUOUS,
                    f'{folder}, {split} split',
                    f'--{split}-ann {path.relative_to(folder).as_posix()}',
                )
        elif split != 'test':
            holds = sorted(p.name + '/' * p.is_dir() for p in folder.iterdir())
            shown = ', '.join(holds[:8]) + (', ...' if len(holds) > 8 else '')
            problems.add(
                NO_SPLIT, f'{folder}, {split} split', f'the folder holds {shown or "nothing"}'
            )
    return files


def _resolve_choice(folder: Path, choice: str) -> Path | None:
    """Return the file meant by the user's choice, if it exists inside the folder."""
    paths = (path for path in (folder / choice, Path(choice)) if path.is_file())
    return next((place for path in paths if (place := inside(folder, path))), None)


def inside(folder: Path, path: Path) -> Path | None:
    """The place of a file below a folder.

    Args:
        folder (Path): The folder.
        path (Path): The file, however its path is written.

    Returns:
        Path | None: Its path, beginning with ``folder``; None where it is elsewhere.
    """
    # Links are not followed: a folder of links to images elsewhere is a data set folder too.
    root, place = Path(os.path.abspath(folder)), Path(os.path.abspath(path))
    return folder / place.relative_to(root) if place.is_relative_to(root) else None


def name_on_disk(image_dir: Path, name: str) -> str | None:
    """The name under which an image that a file lists is found.

    Args:
        image_dir (Path): The folder to which the file's names are relative.
        name (str): A ``file_name``.

    Returns:
        str | None: ``name`` itself; where there is no such file, ``name`` with the slashes of this
        system, or, where it is a path from the root of another machine, its last part; None where
        none of them is there.
    """
    names = [name, name.replace('\\', '/')]
    path = PureWindowsPath(name)
    if path.drive or path.root:
        names.append(path.name)
    return next((n for n in names if (image_dir / n).is_file()), None)


def find_image_dir(folder: Path, split: str, ann_file: Path, names: Sequence[str]) -> Path:
    """The folder to which a split's file names are relative.

    Args:
        folder (Path): The data set folder.
        split (str): 'train', 'val' or 'test'.
        ann_file (Path): The split's annotation file.
        names (Sequence[str]): The ``file_name`` of its images.

    Returns:
        Path: Among the usual places the one that holds most of a sample of the names; the
        likeliest place when none holds any.
    """
    beside = ann_file.parent
    places = [beside, beside / 'images', beside / 'data']
    for parent in (folder, folder / 'images'):
        if parent.is_dir():
            by_name = [
                d
                for d in sorted(parent.iterdir())
                if d.is_dir() and words_of(d.name).intersection(SPLIT_NAMES[split])
            ]
            places += by_name + [d / 'images' for d in by_name]
    places += [folder / 'images', folder]
    if beside.name == 'annotations' or beside == folder:
        places = places[3:] + places[:3]
    places = [p for p in places if p.is_dir()]
    sample = names[:: max(1, len(names) // 50)]
    return max(
        places, key=lambda place: sum(name_on_disk(place, name) is not None for name in sample)
    )
