"""MMEngine hooks: adapting the model of a runner, its files, and exact resumption."""

from .checkpoint_hook import PEFTCheckpointHook
from .inject_hook import PEFTInjectHook
from .memory_hook import MemoryHook
from .random_state_hook import RandomStateHook

__all__ = ['MemoryHook', 'PEFTCheckpointHook', 'PEFTInjectHook', 'RandomStateHook']
