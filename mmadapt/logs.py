"""What the package says in the log: a warning as one, which no ``log_level`` hides."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.logging import print_log

WARNING = 'WARNING: '
"""What a line begins with that is a warning, where it is printed and not logged."""


_silenced: list[bool] = []


@contextmanager
def silent() -> Iterator[None]:
    """Log nothing of this package's meanwhile: it will be said again."""
    _silenced.append(True)
    try:
        yield
    finally:
        _silenced.pop()


def logger() -> str:
    """Return what MMEngine's functions take as their ``logger``."""
    return 'silent' if _silenced else 'current'


def say(line: str) -> None:
    """Log a line: one that begins with ``WARNING:`` as a warning.

    Args:
        line (str): The line, or a table.
    """
    if line.startswith(WARNING):
        warn(line)
    else:
        print_log(('\n' if '\n' in line else '') + line, logger())


def warn(line: str) -> None:
    """Log a warning.

    Args:
        line (str): The line; the logger puts ``WARNING`` before it.
    """
    print_log(line.removeprefix(WARNING), logger(), logging.WARNING)


def is_first_process() -> bool:
    """Return whether this is the only process of a run or its first, before they have met."""
    return os.environ.get('RANK', os.environ.get('SLURM_PROCID', '0')) == '0'
