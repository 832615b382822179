"""What the subcommands share; they themselves are in :mod:`mmadapt.commands`."""

from .amp import set_amp, without_islands
from .checkpoints import check_checkpoint, how_to_go_on, resume_command, set_resume
from .config import load_config, set_work_dir
from .exit import run_tool

__all__ = [
    'check_checkpoint',
    'how_to_go_on',
    'load_config',
    'resume_command',
    'run_tool',
    'set_amp',
    'set_resume',
    'set_work_dir',
    'without_islands',
]
