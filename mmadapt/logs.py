"""What the package says in the log: a warning as one, which no ``log_level`` hides."""

import logging

from mmengine.logging import print_log

WARNING = 'WARNING: '
"""What a line begins with that is a warning, where it is printed and not logged."""


def say(line: str) -> None:
    """Log a line: one that begins with ``WARNING:`` as a warning.

    Args:
        line (str): The line, or a table.
    """
    if line.startswith(WARNING):
        warn(line)
    else:
        print_log(('\n' if '\n' in line else '') + line, 'current')


def warn(line: str) -> None:
    """Log a warning.

    Args:
        line (str): The line; the logger puts ``WARNING`` before it.
    """
    print_log(line.removeprefix(WARNING), 'current', logging.WARNING)
