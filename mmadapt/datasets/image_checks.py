"""Whether a split's images are on disk, whole, of the size their annotations say, and its own."""

import hashlib
import os
import struct
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path

from PIL import ExifTags, Image

from .layout import name_on_disk
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
SAME_CONTENT = Kind(
    'warning',
    'images that are in two splits (identical files)',
    'take them out of one: the figures of the second would flatter',
)
SAME_NAME = Kind(
    'warning',
    'images of the same name or source in two splits',
    'look at a few: if they show the same, take them out of one split',
)


def probe(path: Path) -> tuple[int, int] | str:
    """Decode an image.

    Args:
        path (Path): The image file.

    Returns:
        tuple[int, int] | str: Width and height in pixels as MMDetection will see them, that is
        after the orientation tag; or what is wrong with the file.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
            # JPEG decodes an eighth of the size many times faster and still meets a cut-off end.
            image.draft(None, (1, 1))
            image.load()
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        struct.error,
        Image.DecompressionBombError,
    ) as error:
        return str(error).replace(f' {str(path)!r}', '') or type(error).__name__
    return (height, width) if turned else (width, height)


def check_image_files(
    images: Sequence[dict],
    image_dir: Path,
    file: str,
    problems: Problems,
    threads: int | None = None,
) -> list[Path]:
    """Check that the images are there, whole, and of the size the annotations say.

    Args:
        images (Sequence[dict]): Image entries of the annotation file.
        image_dir (Path): The folder to which their ``file_name`` is relative.
        file (str): The annotation file's name for messages.
        problems (Problems): Takes what is wrong.
        threads (int | None): Decoding threads; by default one per core.

    Returns:
        list[Path]: The images that are on disk.
    """
    present, entries = [], []
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
        for path, image, seen in zip(present, entries, pool.map(probe, present), strict=True):
            said = (image['width'], image['height'])
            if isinstance(seen, str):
                problems.add(BROKEN, file, f'{path}: {seen}')
            elif seen != said:
                problems.add(
                    WRONG_SIZE,
                    file,
                    '{}: {} x {}, the file says {} x {}'.format(path, *seen, *said),
                )
    return present


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


def check_leaks(images: Mapping[str, Sequence[Path]], problems: Problems) -> None:
    """Report images that two splits share.

    Only files of equal size are hashed, so a clean data set costs no reading. Roboflow names the
    augmented versions of one image ``NAME.rf.HASH.jpg``; they count as the same source.

    Args:
        images (Mapping[str, Sequence[Path]]): The image files of each split.
        problems (Problems): Takes what is found.
    """
    by_size: dict[str, dict[int, list[Path]]] = {split: defaultdict(list) for split in images}
    by_name: dict[str, dict[str, Path]] = {split: {} for split in images}
    for split, paths in images.items():
        for path in paths:
            by_size[split][path.stat().st_size].append(path)
            by_name[split][path.name.split('.rf.')[0]] = path
    digests = {}

    def digest(path):
        if path not in digests:
            digests[path] = hashlib.sha256(path.read_bytes()).digest()
        return digests[path]

    for first, second in combinations(images, 2):
        place = f'{first} and {second} splits'
        twins = set()
        for size in by_size[first].keys() & by_size[second].keys():
            content = {digest(path): path for path in by_size[first][size]}
            for path in by_size[second][size]:
                if digest(path) in content:
                    twins.add(path)
                    problems.add(SAME_CONTENT, place, f'{content[digest(path)]} = {path}')
        for name in sorted(by_name[first].keys() & by_name[second].keys()):
            if by_name[second][name] not in twins:
                problems.add(SAME_NAME, place, f'{by_name[first][name]}, {by_name[second][name]}')
