"""Which label map belongs to which image, and whether MMSegmentation will find both."""

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .label_layout import MapFolder, image_files
from .label_maps import LabelMap, match_maps
from .problems import Kind, Problems

NO_IMAGES = Kind('error', 'no images', 'put them there')
NO_MAP = Kind(
    'error',
    'images without a label map',
    'MMSegmentation ends at the first of them: export their maps, or take the images out',
)
NO_IMAGE = Kind('warning', 'label maps without an image', 'they are not used')
NOT_LISTED = Kind('warning', 'images that no list of a split names', 'they are not used')
BY_SUFFIX = Kind(
    'note',
    'images and label maps of different suffixes',
    'paired where the rest of their names is the same, as the config that is written says',
)
SEVERAL = Kind(
    'note',
    'images with several label maps',
    'those of one suffix are used; where others are meant, keep only these in the folder',
)
LISTED_MISSING = Kind('error', 'listed images that are not there', 'correct the list')
MIXED_IMAGES = Kind(
    'error',
    'images of several suffixes',
    'BaseSegDataset takes those of one img_suffix, as it is written, and leaves the others out '
    'without a word: give all the same',
)
MIXED_MAPS = Kind(
    'error',
    'label maps of several suffixes',
    'BaseSegDataset looks for one seg_map_suffix; mmadapt dataset FOLDER --fix writes copies of '
    'one',
    True,
)
OTHER_SIZE = Kind(
    'error',
    'label maps of another size than their image',
    'export both together: MMSegmentation would train on pixels of another place, or stop',
)
TURNED = Kind(
    'error',
    'label maps as large as their image before it is turned',
    'MMSegmentation turns images by the orientation tag, and no maps: write the images without it',
)


@dataclass
class Pairs:
    """The images of a split and their label maps.

    Args:
        img_suffix (str): What the names of its images end in.
        seg_map_suffix (str): What follows the same name in those of their maps.
        maps (dict[Path, Path]): The map of each image.
    """

    img_suffix: str
    seg_map_suffix: str
    maps: dict[Path, Path]


def pair_files(split: MapFolder, problems: Problems) -> Pairs:
    """Find the images of a split and the label map of each.

    Args:
        split (MapFolder): Where they are.
        problems (Problems): Takes what is missing, and what MMSegmentation would not find.

    Returns:
        Pairs: What was found.
    """
    place = f'{split.image_dir}{os.sep}'
    names = sorted(image_files(split.image_dir))
    by_stem = {os.path.splitext(name)[0]: name for name in names}
    if split.list_file is not None:
        lines = split.list_file.read_text(encoding='utf-8-sig').splitlines()
        listed = [line.strip() for line in lines if line.strip()]
        for name in listed:
            if name not in by_stem:
                problems.add(LISTED_MISSING, str(split.list_file), name)
        names = [by_stem[name] for name in listed if name in by_stem]
    suffixes = Counter(os.path.splitext(name)[1] for name in names)
    if not names:
        problems.add(NO_IMAGES, str(split.list_file or place))
        return Pairs('.jpg', '.png', {})
    stems = [os.path.splitext(name)[0] for name in names]
    if len(suffixes) > 1:
        problems.add(MIXED_IMAGES, place, _listed(suffixes))
    files = list(image_files(split.map_dir))
    # Without a list of names; MMSegmentation puts the suffix behind what a list says.
    img_tail = '' if split.list_file is not None else shared_tail(stems, files)
    found = match_maps([stem.removesuffix(img_tail) for stem in stems], files)
    tails = Counter(tail for each in found.values() for tail in each)
    best = sorted(tails, key=lambda tail: (-tails[tail], _rank(tail)))
    maps, used = {}, Counter[str]()
    for stem, name in zip(stems, names, strict=True):
        own = found.get(stem.removesuffix(img_tail), {})
        tail = next((each for each in best if each in own), None)
        if tail is None:
            problems.add(NO_MAP, place, name)
        else:
            used[tail] += 1
            maps[split.image_dir / name] = split.map_dir / own[tail]
    pairs = Pairs(
        img_tail + suffixes.most_common(1)[0][0],
        used.most_common(1)[0][0] if used else '.png',
        maps,
    )
    file = f'{split.map_dir}{os.sep}'
    if len(used) > 1:
        problems.add(MIXED_MAPS, file, _listed(used))
    if img_tail:
        written = f'img_suffix={pairs.img_suffix!r}, seg_map_suffix={pairs.seg_map_suffix!r}'
        problems.add(BY_SUFFIX, place, written)
    rest = [tail for tail in best if tail not in used]
    if rest and len(used) == 1:
        problems.add(SEVERAL, file, f'{pairs.seg_map_suffix} of {", ".join(sorted(tails))}')
    if split.list_file is None:
        matched = {name for each in found.values() for name in each.values()}
        for name in sorted({*files} - matched):
            problems.add(NO_IMAGE, file, Path(name).name)
    return pairs


def shared_tail(stems: Sequence[str], files: Sequence[str]) -> str:
    """Find what all images end in, and their label maps do not, as ``_leftImg8bit``.

    Args:
        stems (Sequence[str]): Names of images, without suffix.
        files (Sequence[str]): Names of files of maps.

    Returns:
        str: What, taken off the images, gives more of them a map; '' where that is nothing.
    """
    shared = os.path.commonprefix([stem[::-1] for stem in stems])[::-1]
    places = [match.start() for match in re.finditer(r'[^0-9A-Za-z]', shared)]
    # The shortest first, so that as much as can be is the same.
    tried = ['', *(shared[place:] for place in reversed(places) if '/' not in shared[place:])]
    # Numbers alone are those of images.
    tried = [
        tail
        for tail in tried
        if not tail or (re.search('[A-Za-z]', tail) and all(_base(stem, tail) for stem in stems))
    ]
    return max(
        tried, key=lambda tail: len(match_maps([s.removesuffix(tail) for s in stems], files))
    )


def _rank(tail: str) -> int:
    """Rank maps of several kinds: as in Cityscapes, whose colors and instances are no classes."""
    if 'labeltrainids' in tail.lower():
        return 0
    return 2 if re.search('colou?r|instance', tail, re.IGNORECASE) else 1


def _base(stem: str, tail: str) -> str:
    """Return what a name has before a tail, without its folder."""
    return os.path.basename(stem.removesuffix(tail))


def _listed(counts: Counter[str]) -> str:
    return ', '.join(f'{count:,} {suffix}' for suffix, count in counts.most_common())


def check_sizes(
    maps: Mapping[Path, LabelMap],
    sizes: Mapping[Path, tuple[int, int]],
    file: str,
    problems: Problems,
) -> None:
    """Report label maps that do not cover their image.

    Args:
        maps (Mapping[Path, LabelMap]): The map of each image.
        sizes (Mapping[Path, tuple[int, int]]): Width and height of images in pixels, as
            MMSegmentation turns them.
        file (str): The folder of the maps, for messages.
        problems (Problems): Takes what is found.
    """
    for image, each in maps.items():
        if each.fault or image not in sizes or each.size == sizes[image]:
            continue
        kind = TURNED if each.size == sizes[image][::-1] else OTHER_SIZE
        problems.add(
            kind,
            file,
            '{}: {} x {}, {} {} x {}'.format(each.path.name, *each.size, image.name, *sizes[image]),
        )
