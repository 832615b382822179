"""Label maps, one image of class numbers for each image, as MMSegmentation loads them.

`LoadAnnotations` decodes a map with Pillow as it is stored (the indices of a palette, not its
colors), casts the values to 8 bits, and takes one off them where ``reduce_zero_label`` says so.
"""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from .class_list import Color
from .image_checks import IMAGE_SUFFIXES
from .pixels import UNREADABLE

IGNORED = 255
"""What MMSegmentation ignores, whatever ``ignore_index`` a data set has."""
MOST_COLORS = 1024
"""More colors than classes that anyone names: an image, not a map."""


@dataclass
class LabelMap:
    """What is in the file of a label map.

    Args:
        path (Path): The file.
        size (tuple[int, int]): Width and height in pixels.
        counts (dict[int, int]): Pixels by value, before anything is cast.
        channels (int): Numbers a pixel: 1, or more in a map of colors.
        colors (dict[tuple, int]): Pixels by RGB color of a map of colors; empty where it has too
            many.
        palette (bool): Whether the values are indices of a palette.
        fault (str): Why it cannot be read; '' where it can.
    """

    path: Path
    size: tuple[int, int] = (0, 0)
    counts: dict[int, int] = field(default_factory=dict)
    channels: int = 1
    colors: dict[Color, int] = field(default_factory=dict)
    palette: bool = False
    fault: str = ''


def read_label_map(path: Path) -> LabelMap:
    """Read a label map.

    Args:
        path (Path): The file.

    Returns:
        LabelMap: What is in it.
    """
    try:
        with Image.open(path) as image:
            return _content(path, image)
    except UNREADABLE as error:
        return LabelMap(path, fault=str(error).replace(f' {str(path)!r}', '') or 'no image')


def _content(path: Path, image: Image.Image) -> LabelMap:
    if image.mode in ('1', 'L', 'P'):
        # Counted by Pillow, without the 64-bit copy that NumPy's bincount makes.
        counts = {value: count for value, count in enumerate(image.histogram()) if count}
        if image.mode == '1':
            counts = {min(value, 1): count for value, count in counts.items()}
        return LabelMap(path, image.size, counts, palette=image.mode == 'P')
    if len(image.getbands()) == 1:
        values, numbers = np.unique(np.asarray(image), return_counts=True)
        counts = dict(zip(values.tolist(), numbers.tolist(), strict=True))
        return LabelMap(path, image.size, counts)
    found = image.convert('RGB').getcolors(MOST_COLORS) or []
    colors = {(c[0], c[1], c[2]): count for count, c in found if isinstance(c, tuple)}
    return LabelMap(path, image.size, {}, len(image.getbands()), colors)


def read_label_maps(paths: Sequence[Path], threads: int | None = None) -> list[LabelMap]:
    """Read label maps, several at a time.

    Args:
        paths (Sequence[Path]): The files.
        threads (int | None): Decoding threads; by default one per core.

    Returns:
        list[LabelMap]: What is in them, in the same order.
    """
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        return list(pool.map(read_label_map, paths))


def numbers_of(each: LabelMap, colors: Iterable[Color]) -> dict[Color, int] | None:
    """The class number of each color in a map of colors.

    Args:
        each (LabelMap): The map.
        colors (Iterable[Color]): The RGB colors of the classes, where they are listed.

    Returns:
        dict[Color, int] | None: By color of the map; None where a color of it is no class's, or
        where there are too many to be classes.
    """
    if not each.colors:
        return None
    known = {color: number for number, color in enumerate(colors)}
    if known:
        return {c: known[c] for c in each.colors} if each.colors.keys() <= known.keys() else None
    # A gray map saved with three channels.
    if all(len(set(color)) == 1 for color in each.colors):
        return {color: color[0] for color in each.colors}
    return None


def load_numbers(each: LabelMap, colors: Iterable[Color]) -> np.ndarray:
    """Load the class numbers of a map, by its colors where it has some.

    Args:
        each (LabelMap): A map that can be read, of numbers or of known colors.
        colors (Iterable[Color]): The RGB colors of the classes, where they are listed.

    Returns:
        np.ndarray: As the file has them, (H, W), of the type that they have there.
    """
    with Image.open(each.path) as image:
        if each.channels == 1:
            return np.array(image)
        rgb = np.asarray(image.convert('RGB'))
    numbers = np.zeros(rgb.shape[:2], np.uint8)
    for color, number in (numbers_of(each, colors) or {}).items():
        numbers[(rgb == color).all(axis=-1)] = number
    return numbers


def labels_of(
    counts: Mapping[int, int],
    reduce_zero_label: bool = False,
    label_map: Mapping[int, int] | None = None,
) -> Counter[int]:
    """Count the labels that MMSegmentation makes of the values of a map.

    Args:
        counts (Mapping[int, int]): Pixels by value, which is at most 255.
        reduce_zero_label (bool): Whether 0 is ignored and one taken off the others.
        label_map (Mapping[int, int] | None): What classes that are left out, or in another order,
            become.

    Returns:
        Counter[int]: Pixels by label, 255 for those that are ignored.
    """
    labels: Counter[int] = Counter()
    for value, count in counts.items():
        label = int(value)
        if reduce_zero_label:
            label = IGNORED if label in (0, IGNORED) else label - 1
        labels[(label_map or {}).get(label, label)] += count
    return labels


def match_maps(images: Sequence[str], maps: Sequence[str]) -> dict[str, dict[str, str]]:
    """Find the label maps of images by name.

    Args:
        images (Sequence[str]): Names of images, without suffix.
        maps (Sequence[str]): Names of files of maps.

    Returns:
        dict[str, dict[str, str]]: By image what follows its name in the names of its maps, such
        as ``.png`` or ``_mask.png``, and the map.
    """
    known = set(images)
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for name in sorted(maps):
        stem = os.path.splitext(name)[0]
        ends = [len(stem), *(m.start() for m in re.finditer(r'[^0-9A-Za-z/]', stem))]
        best = max((end for end in ends if stem[:end] in known), default=None)
        if best is not None:
            found[name[:best]][name[best:]] = name
    return found


def is_image(name: str) -> bool:
    """Return whether a file name is one of an image."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES
