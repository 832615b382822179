"""Where the images of YOLO's splits are: folders, or lists that ``data.yaml`` names."""

from pathlib import Path

from ..image_checks import MISSING
from ..layout import SPLIT_NAMES, inside
from ..problems import Kind, Problems
from .labeled import UNSPLIT, images_in, split_folders
from .yolo_names import Names

ELSEWHERE = Kind(
    'error',
    'images outside of the data set folder',
    'give the folder that holds them too, or copy or link them into this one',
)


def find_images(folder: Path, names: Names, problems: Problems) -> dict[str, list[Path]]:
    """Find the images of each split.

    Args:
        folder (Path): The data set folder.
        names (Names): What it says of itself.
        problems (Problems): Takes what is missing.

    Returns:
        dict[str, list[Path]]: By 'train', 'val', 'test', or all as :data:`UNSPLIT`.
    """
    places: dict[str, list[Path]] = {}
    if names.splits:
        for split, entries in names.splits.items():
            paths = [p for entry in entries for p in _entry(entry, split, folder, names, problems)]
            within = {path: inside(folder, path) for path in paths}
            places[split] = [place for place in within.values() if place is not None]
            for path, place in within.items():
                if place is None:
                    problems.add(ELSEWHERE, names.source, str(path))
        return places
    for root in (folder, folder / 'images'):
        for split, children in split_folders(root).items():
            places.setdefault(split, []).extend(
                image for child in children for image in images_in(child, deep=True)
            )
    own = folder / 'images'
    return places or {UNSPLIT: images_in(own if own.is_dir() else folder, deep=own.is_dir())}


def _entry(entry: str, split: str, folder: Path, names: Names, problems: Problems) -> list[Path]:
    """Return the images of a folder, or of a list of images, as data.yaml names it."""
    roots = [*names.roots, folder]
    forms = [entry, *_below(entry, SPLIT_NAMES[split])]
    place = _first(roots, forms)
    if place is None:
        problems.add(MISSING, names.source, f'{split}: {entry}')
        return []
    if place.is_dir():
        return images_in(place, deep=True)
    images = []
    for line in place.read_text(encoding='utf-8-sig').splitlines():
        name = line.strip().replace('\\', '/')
        if name:
            found = _first([place.parent, *roots], [name, *_below(name)])
            if found is None or found.is_dir():
                problems.add(MISSING, str(place), name)
            else:
                images.append(found)
    return images


def _below(name: str, words: tuple[str, ...] = ()) -> list[str]:
    """Return a path without its first folders, as long as one of some words is in it.

    It may have been written for another machine, and Roboflow writes ../train/images where
    train/images is meant.
    """
    parts = Path(name).parts
    ends = [parts[place:] for place in range(1, len(parts))]
    return [
        '/'.join(end)
        for end in ends
        if not words or {Path(part).stem for part in end}.intersection(words)
    ]


def _first(roots: list[Path], forms: list[str]) -> Path | None:
    """Return the first path that is there."""
    paths = (root / form for form in forms for root in roots)
    return next(filter(Path.exists, paths), None)
