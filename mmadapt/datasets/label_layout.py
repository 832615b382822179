"""Where a data set of label maps, or of one folder a class, keeps its splits."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .image_checks import IMAGE_SUFFIXES
from .layout import SPLIT_NAMES, annotation_candidates

IMAGE_DIRS = ('images', 'image', 'imgs', 'img', 'img_dir', 'jpegimages', 'leftimg8bit')
MAP_DIRS = (
    'masks',
    'mask',
    'label_maps',
    'labels',
    'annotations',
    'ann_dir',
    'segmentations',
    'segmentationclass',
    'gtfine',
)
# Where lists of the names of a split's images are looked for.
LIST_DIRS = ('ImageSets/Segmentation', 'splits', '.')
# What says that a folder of images is annotated by files.
_ANNOTATIONS = {'.json', '.xml', '.csv'}


@dataclass(frozen=True)
class MapFolder:
    """Where one split of a data set of label maps is.

    Args:
        name (str): 'train', 'val' or 'test'.
        image_dir (Path): The folder of its images.
        map_dir (Path): The folder of its label maps.
        map_root (Path): The folder of label maps that ``map_dir`` is or lies in.
        list_file (Path | None): The file that lists its images without their suffix, where one
            folder holds the images of all splits.
    """

    name: str
    image_dir: Path
    map_dir: Path
    map_root: Path
    list_file: Path | None = None

    @property
    def fixed_dir(self) -> Path:
        """Path: Where corrected copies of the maps go."""
        root = self.map_root.with_name(f'{self.map_root.name}_fixed')
        return root / self.map_dir.relative_to(self.map_root)


def files_below(folder: Path) -> Iterator[str]:
    """Yield the files below a folder as MMEngine lists them, through links, hidden ones left out.

    Args:
        folder (Path): The folder.

    Yields:
        str: Names relative to it.
    """
    for place, _, names in os.walk(folder, followlinks=True):
        for name in names:
            if name[0] != '.':
                yield Path(place, name).relative_to(folder).as_posix()


def image_files(folder: Path) -> Iterator[str]:
    """Yield the images below a folder.

    Args:
        folder (Path): The folder.

    Yields:
        str: Names relative to it.
    """
    for name in files_below(folder):
        if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:
            yield name


def folders_named(folder: Path, names: tuple[str, ...]) -> list[Path]:
    """Return the folders in a folder that have one of some names, in the order of the names."""
    found = {p.name.lower(): p for p in sorted(folder.iterdir()) if p.is_dir()}
    return [found[name] for name in names if name in found]


def find_map_folders(folder: Path) -> dict[str, MapFolder]:
    """Find the splits of a data set of label maps.

    Args:
        folder (Path): The data set folder.

    Returns:
        dict[str, MapFolder]: By split, where ``images/SPLIT`` and ``masks/SPLIT``,
        ``SPLIT/images`` and ``SPLIT/masks``, or folders of all images and all maps with
        ``SPLIT.txt`` are there, under the usual names; empty where there are no such maps.
    """
    if not folder.is_dir():
        return {}
    found: dict[str, MapFolder] = {}
    for images in folders_named(folder, IMAGE_DIRS):
        for maps in _map_dirs(folder):
            for split in _splits_below(folder, images, maps):
                found.setdefault(split.name, split)
    for name, names in SPLIT_NAMES.items():
        for child in folders_named(folder, names):
            for images in folders_named(child, IMAGE_DIRS):
                for maps in _map_dirs(child):
                    found.setdefault(name, MapFolder(name, images, maps, maps))
    return {
        name: found[name]
        for name in SPLIT_NAMES
        if name in found and any(True for _ in image_files(found[name].map_dir))
    }


def _map_dirs(folder: Path) -> list[Path]:
    """Return what may hold label maps: VOC has XML files in a folder of one of the names."""
    return [place for place in folders_named(folder, MAP_DIRS) if any(image_files(place))]


def _splits_below(folder: Path, images: Path, maps: Path) -> Iterator[MapFolder]:
    for name, names in SPLIT_NAMES.items():
        for image_dir in folders_named(images, names):
            for map_dir in folders_named(maps, names):
                yield MapFolder(name, image_dir, map_dir, maps)
        for place in LIST_DIRS:
            for word in names:
                path = folder / place / f'{word}.txt'
                if path.is_file():
                    yield MapFolder(name, images, maps, maps, path)


def annotates_boxes(folder: Path) -> bool:
    """Return whether a folder has files of boxes: COCO's, or one in XML an image."""
    return bool(annotation_candidates(folder, 'train')) or any(
        path.suffix == '.xml'
        for child in folders_named(folder, ('annotations',))
        for path in child.iterdir()
    )


def find_class_folders(folder: Path) -> dict[str, Path]:
    """Find the splits of a data set that has one folder of images a class.

    Args:
        folder (Path): The data set folder.

    Returns:
        dict[str, Path]: The folder of classes by split; empty where the training folder has no
        folders of images, or files beside them that annotate the images.
    """
    if not folder.is_dir():
        return {}
    found = {
        name: child for name, names in SPLIT_NAMES.items() for child in folders_named(folder, names)
    }
    if 'train' not in found:
        return {}
    inside = [p for p in found['train'].iterdir() if p.name[0] != '.']
    children = [p for p in inside if p.is_dir()]
    if any(p.suffix.lower() in _ANNOTATIONS for p in inside) or any(
        p.name.lower() in IMAGE_DIRS for p in children
    ):
        return {}
    return found if any(next(image_files(p), None) for p in children) else {}
