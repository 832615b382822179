"""How a tool ends: one line for what the user can mend, a traceback for what is our fault."""

import os
import signal
import sys
from collections.abc import Callable

import torch.distributed as dist
from termcolor import colored
from torch.distributed.elastic.multiprocessing.errors import get_error_handler

from ..errors import UserError

USER_ERROR, INTERRUPTED = 2, 130
# Set by tools/launch.py, which shows the line itself: once, not once a process.
REPORTED_BY_LAUNCHER = 'MMADAPT_REPORTED_BY_LAUNCHER'


def run_tool(main: Callable[[], None]) -> None:
    """Run a tool, and end the process with its exit code.

    A :class:`~mmadapt.errors.UserError` becomes one red line and exit code 2, Ctrl-C one line and
    exit code 130. Any other exception keeps its traceback.

    Args:
        main (callable): The tool; reads ``sys.argv`` itself. The line printed at Ctrl-C is the
            text of the KeyboardInterrupt that it raises.
    """
    try:
        _run(main)
    except UserError as error:
        if REPORTED_BY_LAUNCHER in os.environ:
            get_error_handler().record_exception(error)
        else:
            print_error(str(error))
        _leave(USER_ERROR)
    except KeyboardInterrupt as interrupt:
        # The launcher passes on what the terminal has sent already: a second one is no new wish.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if os.environ.get('LOCAL_RANK', '0') == '0':
            print_error(str(interrupt) or 'stopped by Ctrl-C')
        _leave(INTERRUPTED)


def _run(main: Callable[[], None]) -> None:
    """Run a tool; an empty data set and a full disk become a UserError."""
    try:
        main()
    except OSError as error:
        from ..files.writing import full_disk
        full = full_disk(error)
        if full is None:
            raise
        raise full from error
    except ValueError as error:
        # At the beginning it would take each tool a second, and the two packages need each other.
        from ..datasets.nothing_left import nothing_left
        empty = nothing_left(error)
        if empty is None:
            raise
        raise empty from None


def is_first_process() -> bool:
    """bool: Whether this is the only process of a run or its first, before they have met."""
    return os.environ.get('RANK', os.environ.get('SLURM_PROCID', '0')) == '0'


def print_error(message: str) -> None:
    """Write a message to stderr, red where that is a terminal."""
    sys.stderr.write(colored(message, 'red', force_color=sys.stderr.isatty() or None) + '\n')
    sys.stderr.flush()


def _leave(code: int) -> None:
    """Exit without waiting for the other processes, which may not be coming."""
    if dist.is_available() and dist.is_initialized():
        if dist.get_backend() != 'gloo':
            # NCCL waits for its peers when it is destroyed, at exit too.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        dist.destroy_process_group()
    sys.exit(code)
