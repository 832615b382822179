"""Whether a split's images are on disk, whole, and of the size that their annotations say."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import ExifTags, Image, ImageOps

from .layout import name_on_disk
from .likeness import Likeness, likeness_of
from .pixels import UNREADABLE
from .problems import Kind, Problems

IMAGE_SUFFIXES = {'.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp', '.gif'}

MISSING = Kind('error', 'images not on disk', 'put them there, or take them out of the file')
FOREIGN_NAME = Kind(
    'error',
    'file names as another system or machine has them',
    'back-slashes, or a path from its root: MMDetection finds no such file; --fix writes the names '
    'of the files here',
    True,
)
BROKEN = Kind('error', 'images that cannot be read to their end', 'copy or export them again')
WRONG_SIZE = Kind(
    'error',
    'images of another size than the file says',
    'export images and annotations together: the boxes do not fit',
)
NOT_LISTED = Kind(
    'warning',
    'images on disk that no annotation file lists',
    'they are not used; list them without boxes if they show none',
)


@dataclass(frozen=True)
class Seen:
    """What there is of an image file.

    Args:
        size (tuple[int, int]): Width and height in pixels as MMDetection will see them, that is
            after the orientation tag.
        likeness (Likeness | None): What it is compared with other images by.
    """

    size: tuple[int, int]
    likeness: Likeness | None


def oriented_size(image: Image.Image) -> tuple[int, int]:
    """Return width and height of an image in pixels, as they are after its orientation tag."""
    width, height = image.size
    turned = image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
    return (height, width) if turned else (width, height)


def probe(path: Path) -> Seen | str:
    """Decode an image.

    Args:
        path (Path): The image file.

    Returns:
        Seen | str: What it shows; or what is wrong with the file.
    """
    try:
        with Image.open(path) as image:
            size = oriented_size(image)
            # JPEG decodes an eighth of the size many times faster and still meets a cut-off end.
            image.draft('L', (64, 64))
            image.load()
            likeness = likeness_of(ImageOps.exif_transpose(image))
    except UNREADABLE as error:
        return str(error).replace(f' {str(path)!r}', '') or type(error).__name__
    return Seen(size, likeness)


def check_image_files(
    images: Sequence[dict],
    image_dir: Path,
    file: str,
    problems: Problems,
    threads: int | None = None,
) -> dict[Path, Likeness | None]:
    """Check that the images are there, whole, and of the size the annotations say.

    Args:
        images (Sequence[dict]): Image entries of the annotation file.
        image_dir (Path): The folder to which their ``file_name`` is relative.
        file (str): The annotation file's name for messages.
        problems (Problems): Takes what is wrong.
        threads (int | None): Decoding threads; by default one per core.

    Returns:
        dict[Path, Likeness | None]: The images that are on disk, with what they are compared with
        others by.
    """
    present: list[Path] = []
    entries = []
    by_stem: dict = {}
    for image in images:
        path = image_dir / image['file_name']
        name = name_on_disk(image_dir, image['file_name'])
        if name is not None:
            if name != image['file_name']:
                problems.add(FOREIGN_NAME, file, f'{image["file_name"]} is {name}')
            present.append(image_dir / name)
            entries.append(image)
            continue
        if not by_stem:
            by_stem = {p.stem.lower(): p.name for p in image_dir.iterdir()}
        like = by_stem.get(path.stem.lower())
        hint = f' (the folder has {like})' if like else ''
        problems.add(MISSING, file, f'{path}{hint}')
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        found: dict[Path, Likeness | None] = dict.fromkeys(present)
        for path, image, seen in zip(present, entries, pool.map(probe, present), strict=True):
            said = (image['width'], image['height'])
            if isinstance(seen, str):
                problems.add(BROKEN, file, f'{path}: {seen}')
                continue
            found[path] = seen.likeness
            if seen.size != said:
                problems.add(
                    WRONG_SIZE,
                    file,
                    '{}: {} x {}, the file says {} x {}'.format(path, *seen.size, *said),
                )
    return found


def check_unlisted(listed: dict[Path, set[Path]], problems: Problems) -> None:
    """Report images that lie in an image folder and are in no annotation file.

    Args:
        listed (dict[Path, set[Path]]): Listed images, by the image folder they are under.
        problems (Problems): Takes what is found.
    """
    everything = set().union(*listed.values())
    for folder in listed:
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in IMAGE_SUFFIXES and path not in everything:
                problems.add(NOT_LISTED, f'{folder}{os.sep}', path.name)
