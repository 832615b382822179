"""What a config says, checked before anything is built."""

from .consistency import find_inconsistencies
from .memory_hook import check_memory_hook
from .metrics import check_best
from .misspelt import check_arguments, check_top, explain_building
from .model import build_model, model_config
from .options import check_options
from .peft_hook import check_peft_hook
from .plain import plain_config
from .run import check_run, check_runner
from .strategy import check_strategy

__all__ = ['build_model', 'check_arguments', 'check_best', 'check_memory_hook', 'check_options',
           'check_peft_hook', 'check_run', 'check_runner', 'check_strategy', 'check_top',
           'explain_building', 'find_inconsistencies', 'model_config', 'plain_config']
