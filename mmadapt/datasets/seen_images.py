"""Images of several splits decoded: broken ones, their sizes, and what two splits share."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .image_checks import BROKEN, probe
from .leaks import SAME_NAME, check_leaks
from .likeness import Likeness
from .problems import Problems


def look_at_images(
    splits: Mapping[str, Sequence[Path]], problems: Problems, by_name: bool = True
) -> dict[Path, tuple[int, int]]:
    """Decode the images of a data set.

    Args:
        splits (Mapping[str, Sequence[Path]]): The image files of each split.
        problems (Problems): Takes images that are broken, and those that two splits share.
        by_name (bool): Whether images of two splits that have one name are worth a look.

    Returns:
        dict[Path, tuple[int, int]]: Width and height in pixels after the orientation tag, of each
        image that is whole.
    """
    sizes: dict[Path, tuple[int, int]] = {}
    alike: dict[str, dict[Path, Likeness | None]] = {split: {} for split in splits}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for split, paths in splits.items():
            for path, seen in zip(paths, pool.map(probe, paths), strict=True):
                if isinstance(seen, str):
                    problems.add(BROKEN, f'{path.parent}{os.sep}', f'{path.name}: {seen}')
                else:
                    sizes[path] = seen.size
                    alike[split][path] = seen.likeness
    shared = Problems()
    check_leaks(alike, shared)
    for file, kinds in shared.found.items():
        for kind, details in kinds.items():
            for detail in details if by_name or kind != SAME_NAME else ():
                problems.add(kind, file, detail)
    return sizes
