"""Rows of prediction layers that a training keeps by the names of their classes."""

from .find import find_kept, under_all_keys
from .kept import KeptClasses
from .names import (
    Names,
    names_in,
    names_of_checkpoint,
    names_of_config,
    names_of_record,
    names_of_run,
)
from .said import lines_of

__all__ = [
    'KeptClasses',
    'Names',
    'find_kept',
    'lines_of',
    'names_in',
    'names_of_checkpoint',
    'names_of_config',
    'names_of_record',
    'names_of_run',
    'under_all_keys',
]
