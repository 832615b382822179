"""A font that has the letters of a text: matplotlib's own, or one of the system."""

from functools import lru_cache
from typing import Any
from unicodedata import category

from PIL import ImageFont


def font(size: int, text: str = '') -> Any:
    """Return a font for a text.

    Args:
        size (int): Its size in pixels.
        text (str): What is to be written.

    Returns:
        Any: DejaVu Sans, which has more letters than Pillow's font, or the first font of the
        system that has all letters of the text where DejaVu Sans has not.
    """
    return _load(_file_for(frozenset(text)) or _own(), size)


def is_drawable(text: str) -> bool:
    """Return whether a font here has all letters of a text."""
    return _file_for(frozenset(text)) is not None


@lru_cache
def _load(path: str, size: int) -> Any:
    return ImageFont.truetype(path, size)


def _own() -> str:
    from matplotlib import font_manager

    return font_manager.findfont('DejaVu Sans')


@lru_cache
def _file_for(letters: frozenset[str]) -> str | None:
    """Return the file of a font that has some letters."""
    from matplotlib import font_manager

    # Control characters and joiners are written by no letter of their own.
    codes = {ord(letter) for letter in letters if category(letter) not in ('Cc', 'Cf')}
    if codes <= _codes_of(_own()):
        return _own()
    # The fonts that are there now, not those of matplotlib's cache; upright ones first.
    paths = sorted(
        font_manager.findSystemFonts(), key=lambda path: ('regular' not in path.lower(), path)
    )
    return next((path for path in paths if codes <= _codes_of(path)), None)


@lru_cache
def _codes_of(path: str) -> frozenset[int]:
    """Return the code points that a font has; none where Pillow cannot write with it."""
    from matplotlib.ft2font import FT2Font

    try:
        _load(path, 12)
        return frozenset(FT2Font(path).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()
