"""Files that a command writes where the user says, and what is there already."""

import argparse
from pathlib import Path

from ..errors import UserError


def add_force(parser: argparse.ArgumentParser) -> None:
    """Add ``--force``, without which :func:`refuse_existing` refuses."""
    parser.add_argument('--force', action='store_true', help='overwrite files that are there')


def refuse_existing(force: bool, *files: str | None) -> None:
    """Refuse to overwrite a file.

    Args:
        force (bool): Whether the user has said that it may be.
        files (str): Where is to be written; None stands for nothing.

    Raises:
        UserError: A file is there.
    """
    there = [file for file in files if file is not None and Path(file).exists()]
    if there and not force:
        raise UserError(
            f'{", ".join(there)} {"are" if len(there) > 1 else "is"} there; --force '
            'overwrites it, or name another file'
        )
