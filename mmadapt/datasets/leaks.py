"""Whether two splits share an image: the figures of the second would flatter."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

from .likeness import Likeness, find_alike
from .problems import Kind, Problems

SAME_CONTENT = Kind(
    'warning',
    'images that are in two splits (identical files)',
    'take them out of one: the figures of the second would flatter',
)
LOOKS_ALIKE = Kind(
    'warning',
    'images that look the same as one of another split',
    'look at a few: the same one saved again, resized, brighter or mirrored, or the next frame; '
    'take them out of one split: the figures of the second would flatter',
)
SAME_NAME = Kind(
    'warning',
    'images of the same name or source in two splits',
    'look at a few: if they show the same, take them out of one split',
)


def check_leaks(images: Mapping[str, Mapping[Path, Likeness | None]], problems: Problems) -> None:
    """Report images that two splits share.

    Only files of equal size are read for their digest, so a clean data set costs no reading.
    Roboflow names the augmented versions of one image ``NAME.rf.HASH.jpg``; they count as the same
    source.

    Args:
        images (Mapping[str, Mapping[Path, Likeness | None]]): The image files of each split.
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
        twins: set[Path] = set()
        for size in by_size[first].keys() & by_size[second].keys():
            content = {digest(path): path for path in by_size[first][size]}
            for path in by_size[second][size]:
                if digest(path) in content:
                    twins.add(path)
                    problems.add(SAME_CONTENT, place, f'{content[digest(path)]} = {path}')
        twins |= _report_alike(images[first], images[second], twins, place, problems)
        for name in sorted(by_name[first].keys() & by_name[second].keys()):
            if by_name[second][name] not in twins:
                problems.add(SAME_NAME, place, f'{by_name[first][name]}, {by_name[second][name]}')


def _report_alike(
    first: Mapping[Path, Likeness | None],
    second: Mapping[Path, Likeness | None],
    known: set[Path],
    place: str,
    problems: Problems,
) -> set[Path]:
    """Report images of the second split that look like one of the first; returns them."""
    ones = {path: seen for path, seen in first.items() if seen}
    others = {path: seen for path, seen in second.items() if seen and path not in known}
    names, paths = list(ones), list(others)
    found = set()
    for one, other, mirrored in find_alike(list(ones.values()), list(others.values())):
        found.add(paths[other])
        said = f'{names[one]} ~ {paths[other]}' + ', mirrored' * mirrored
        problems.add(LOOKS_ALIKE, place, said)
    return found
