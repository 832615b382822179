"""What was labeled in a folder, whatever its format: images with boxes and polygons."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from ...errors import UserError
from ...extras import remedy
from ..image_checks import BROKEN, IMAGE_SUFFIXES, oriented_size
from ..layout import SPLIT_NAMES, words_of
from ..problems import Kind, Problems

# The split of images of which nothing says whether they are for training.
UNSPLIT = ''

UNREADABLE = Kind(
    'error', 'label files that cannot be read', 'export them again, or take them out of the folder'
)
BAD_LABEL = Kind(
    'error', 'labels that are no boxes or polygons', 'correct them, or take the lines out'
)
NO_IMAGE = Kind(
    'warning',
    'label files whose image is not on disk',
    'they are not used; put the images there, under the names of their labels',
)
UNLABELED = Kind(
    'warning',
    'images without a label file',
    'left out, since nothing says that they show none of the objects; where they do not, save a '
    'label file without any',
)
LEFT_OUT = Kind(
    'warning',
    'shapes of other kinds, left out',
    'boxes, polygons and circles are read; draw these as one of them',
)
TURNED = Kind(
    'warning',
    'rotated boxes',
    'the upright box around each was taken: MMDetection knows no rotated ones',
)
PAINTED = Kind('note', 'painted masks', 'the box around each was written, not the mask')


@dataclass
class LabeledObject:
    """One labeled object.

    Args:
        label (str): The name of its class.
        box (tuple[float, float, float, float]): x1, y1, x2, y2 in pixels, the first pixel from 0
            to 1.
        polygons (list[list[float]]): x, y, x, y, ... in pixels; empty where only a box was drawn.
        crowd (bool): Whether it is neither trained on nor evaluated.
    """

    label: str
    box: tuple[float, float, float, float]
    polygons: list[list[float]] = field(default_factory=list)
    crowd: bool = False


@dataclass
class LabeledImage:
    """An image and what was labeled in it.

    Args:
        path (Path): The image file.
        size (tuple[int, int]): Width and height in pixels, as its label file says or as it is.
        objects (list[LabeledObject]): Nothing where the image shows no object.
    """

    path: Path
    size: tuple[int, int]
    objects: list[LabeledObject]


@dataclass
class LabeledFolder:
    """A data set in one of the formats.

    Args:
        format (str): What the format is called.
        splits (dict[str, list[LabeledImage]]): By 'train', 'val', 'test' or :data:`UNSPLIT`.
        classes (tuple[str, ...] | None): The classes in the order of their labels; None where the
            format has no list of them.
        classes_from (str): The file that lists the classes.
    """

    format: str
    splits: dict[str, list[LabeledImage]]
    classes: tuple[str, ...] | None = None
    classes_from: str = ''


def box_parser(folder: Path, format: str) -> Any:
    """Return globox's BoundingBox, which reads one box of each format.

    Args:
        folder (Path): The data set folder, for the message.
        format (str): What its format is called, for the message.

    Raises:
        UserError: globox is not installed.
    """
    try:
        from globox import BoundingBox
    except ModuleNotFoundError:
        raise UserError(
            f'{folder} holds {format} labels, which are read by globox, and it is not installed'
            f'{remedy("globox")}'
        ) from None
    return BoundingBox


def parse(read: Callable[[], Any], where: str, file: Path, problems: Problems) -> Any:
    """Return what globox reads of one label, None after reporting what it cannot read.

    Args:
        read (Callable): Reads it.
        where (str): The place in the file, for the message.
        file (Path): The label file.
        problems (Problems): Takes what is wrong.
    """
    # Looked up here: it is installed where a parser was found.
    from globox.errors import ParsingError

    try:
        return read()
    except (ParsingError, AssertionError, ValueError, TypeError) as error:
        # It refuses corners in the wrong order by an assertion.
        said = str(error).replace('`', '').rstrip('.')
        problems.add(BAD_LABEL, str(file), f'{where}: {said or type(error).__name__}')
        return None


def split_named(words: Iterable[str]) -> str:
    """Return the split that folders or names stand for, :data:`UNSPLIT` where none does."""
    found: set[str] = set().union(*map(words_of, words))
    return next((s for s, names in SPLIT_NAMES.items() if found.intersection(names)), UNSPLIT)


def split_folders(folder: Path) -> dict[str, list[Path]]:
    """Return the folders in a folder by the split that they are named after."""
    found: dict[str, list[Path]] = {}
    for child in sorted(folder.iterdir()) if folder.is_dir() else []:
        split = split_named([child.name])
        if child.is_dir() and split:
            found.setdefault(split, []).append(child)
    return found


def images_in(folder: Path, deep: bool = False) -> list[Path]:
    """Return the images in a folder, also those further down where asked."""
    paths = folder.rglob('*') if deep else folder.glob('*')
    return sorted(p for p in paths if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())


def image_size(path: Path, problems: Problems) -> tuple[int, int] | None:
    """Return an image's size as MMDetection will see it, None after reporting a broken file."""
    try:
        with Image.open(path) as image:
            return oriented_size(image)
    except (OSError, SyntaxError, ValueError) as error:
        problems.add(BROKEN, str(path.parent), f'{path}: {error}')
        return None


def around(points: Sequence[Sequence[float]]) -> tuple[float, float, float, float]:
    """Return the upright box, x1, y1, x2, y2, around points."""
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)
