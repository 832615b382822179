"""A COCO annotation file's category and file names, found without parsing the whole file.

The training file of COCO itself is 450 MB; parsing it once more on every rank would cost seconds
and gigabytes, searching the mapped file costs a fraction of that.
"""

import json
import mmap
import re
from itertools import islice
from pathlib import Path

from ..errors import UserError

_CATEGORIES = re.compile(rb'"categories"\s*:\s*(?=\[)')
_FILE_NAME = re.compile(rb'"file_name"\s*:\s*("(?:[^"\\]|\\.)*")')


def _map(path: Path) -> mmap.mmap | bytes:
    with open(path, 'rb') as file:
        if not path.stat().st_size:
            return b''
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def read_category_names(path: Path) -> list[str]:
    """The names of the categories.

    Args:
        path (Path): A COCO annotation file.

    Returns:
        list[str]: Names in the file's order, which is the order of MMDetection's labels.

    Raises:
        UserError: If the file has no list of categories with names.
    """
    content = _map(path)
    decoder = json.JSONDecoder()
    for match in _CATEGORIES.finditer(content):
        # The list is short; the window grows only for thousands of categories.
        window = 1 << 16
        while True:
            text = content[match.end() : match.end() + window].decode('utf-8', errors='ignore')
            try:
                entries, _ = decoder.raw_decode(text)
            except json.JSONDecodeError:
                if match.end() + window >= len(content):
                    break
                window *= 8
                continue
            if all(isinstance(e, dict) and isinstance(e.get('name'), str) for e in entries):
                return [entry['name'] for entry in entries]
            break
    raise UserError(
        f'{path} has no list "categories" with names: it is cut off or not in COCO '
        'format; mmadapt dataset FOLDER says what is wrong with it'
    )


def has_key(path: Path, key: str) -> bool:
    """Return whether a key is anywhere in a JSON file.

    Args:
        path (Path): The file.
        key (str): The key.
    """
    return _map(path).find(f'"{key}"'.encode()) >= 0


def first_file_names(path: Path, limit: int = 1000) -> list[str]:
    """The file names of the first images.

    Args:
        path (Path): A COCO annotation file.
        limit (int): How many to return at most.

    Returns:
        list[str]: Values of ``file_name`` in the file's order.
    """
    found = islice(_FILE_NAME.finditer(_map(path)), limit)
    return [json.loads(match.group(1)) for match in found]
