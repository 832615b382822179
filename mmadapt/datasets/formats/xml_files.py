"""XML label files: which there are, what they hold, and where their images are."""

from collections.abc import Iterable
from pathlib import Path, PureWindowsPath
from xml.etree import ElementTree

from ..image_checks import IMAGE_SUFFIXES
from ..layout import inside
from ..problems import Problems
from .labeled import UNREADABLE


def root_tag(path: Path) -> str:
    """Return the name of a file's root element, '' where there is none."""
    try:
        for _, node in ElementTree.iterparse(path, events=['start']):
            return node.tag
    except (OSError, ElementTree.ParseError, ValueError):
        pass
    return ''


def read_xml(path: Path, problems: Problems) -> ElementTree.Element | None:
    """Return a file's root element, None after reporting that it cannot be read."""
    try:
        # By its bytes: a file says itself in which encoding it is.
        return ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError, ValueError) as error:
        problems.add(UNREADABLE, str(path), str(error))
        return None


def find_image(folder: Path, places: Iterable[Path], names: Iterable[str]) -> Path | None:
    """Find the image of a label file.

    Args:
        folder (Path): The data set folder, in which it has to be.
        places (Iterable[Path]): Folders to look in, the likeliest first.
        names (Iterable[str]): Names that it may have, the likeliest first; one without a suffix of
            images stands for each of them.

    Returns:
        Path | None: The image below ``folder``; None where there is none.
    """
    for place in places:
        for name in names:
            path = place / PureWindowsPath(name).as_posix()
            tries = [path]
            if path.suffix.lower() not in IMAGE_SUFFIXES:
                ends = sorted(IMAGE_SUFFIXES)
                tries = [path.with_name(path.name + e) for e in [*ends, *map(str.upper, ends)]]
            found = next((each for each in tries if each.is_file()), None)
            within = found and inside(folder, found)
            if within:
                return within
    return None
