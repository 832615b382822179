"""Names by which images and videos, and the files about them, are told apart."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path


def told_apart(candidates: Sequence[Sequence[str]]) -> list[str]:
    """Return a name for each of several things: the first of its own that no other has.

    Args:
        candidates (Sequence[Sequence[str]]): The names that each may have, the best one first. No
            two have the same last one.

    Returns:
        list[str]: One for each, no two the same.
    """
    used = [0] * len(candidates)
    while True:
        names = [each[index] for each, index in zip(candidates, used, strict=True)]
        counts = Counter(names)
        longer = [
            number
            for number, (each, index) in enumerate(zip(candidates, used, strict=True))
            if counts[names[number]] > 1 and index + 1 < len(each)
        ]
        if not longer:
            return names
        for number in longer:
            used[number] += 1


def names_of_file(path: str, *names: str) -> list[str]:
    """Return what a file may be called: short names, the path as it was typed, the whole path.

    Args:
        path (str): The file.
        names (str): The short ones, the best one first.
    """
    typed = Path(path).as_posix().lstrip('/').replace('../', '')
    return [*names, typed, Path(os.path.abspath(path)).as_posix().lstrip('/')]


def without_suffix(name: str) -> str:
    """Return a name without what follows its last dot.

    Args:
        name (str): It may be a path.
    """
    return name.removesuffix(Path(name).suffix)
