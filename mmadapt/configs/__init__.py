"""What a config says, checked before anything is built."""

from .consistency import find_inconsistencies
from .options import check_options

__all__ = ['check_options', 'find_inconsistencies']
