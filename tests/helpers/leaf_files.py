"""Which library a leaf config needs to be read."""

import re
from pathlib import Path

import pytest


def need_library_of(config: Path) -> None:
    """Skip a test where the library is not installed whose stock config a config inherits."""
    found = re.search(r"'(\w+)::", config.read_text())
    if found is not None:
        pytest.importorskip(found[1], exc_type=ImportError)
