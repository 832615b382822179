"""What a config says, checked before anything is built."""

from .consistency import find_inconsistencies
from .memory_hook import check_memory_hook
from .metrics import check_best
from .misspelled import check_arguments, check_top, explain_building
from .options import check_options
from .packages import check_packages
from .peft_hook import check_peft_hook
from .run import check_run, check_runner
from .strategy import check_strategy

__all__ = [
    'check_arguments',
    'check_best',
    'check_memory_hook',
    'check_options',
    'check_packages',
    'check_peft_hook',
    'check_run',
    'check_runner',
    'check_strategy',
    'check_top',
    'explain_building',
    'find_inconsistencies',
]
