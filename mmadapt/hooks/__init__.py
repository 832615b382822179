"""MMEngine hooks: adapting the model of a runner, its files, and exact resumption."""

from .checkpoint_hook import PEFTCheckpointHook
from .inject_hook import PEFTInjectHook
from .loaded_hook import LoadedCheckpointHook
from .log_file_hook import LogFileHook
from .memory_hook import MemoryHook
from .prepare import prepare_run
from .random_state_hook import RandomStateHook
from .run_check_hook import RunCheckHook
from .safe_checkpoints import secure_checkpoints

__all__ = [
    'LoadedCheckpointHook',
    'LogFileHook',
    'MemoryHook',
    'PEFTCheckpointHook',
    'PEFTInjectHook',
    'RandomStateHook',
    'RunCheckHook',
    'prepare_run',
    'secure_checkpoints',
]
