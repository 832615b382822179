"""What a config says, checked before anything is built."""

from .consistency import find_inconsistencies
from .memory_hook import check_memory_hook
from .options import check_options
from .peft_hook import check_peft_hook
from .strategy import check_strategy

__all__ = ['check_memory_hook', 'check_options', 'check_peft_hook', 'check_strategy',
           'find_inconsistencies']
