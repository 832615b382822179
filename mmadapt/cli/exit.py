"""How a tool ends: one line for what the user can mend, a traceback for what is our fault."""

import os
import select
import shlex
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch.distributed as dist
from termcolor import colored
from torch.distributed.elastic.multiprocessing.errors import get_error_handler

from mmadapt_command import typed_words

from ..errors import UserError
from .warn_once import show_warnings_once

USER_ERROR = 2
# Set by our launcher, which shows the line itself: once, not once a process. Its value is a file
# into which the first process writes what it would say of being stopped.
REPORTED_BY_LAUNCHER = 'MMADAPT_REPORTED_BY_LAUNCHER'
_STOPPING = (signal.SIGTERM, signal.SIGHUP)
_LONE = 'Expected more than 1 value per channel when training'  # of torch


class Stopped(KeyboardInterrupt):
    """A signal has asked this process to end; what it says is the line to show, if it says any.

    Args:
        number (int): The signal.
        message (str): The line. Defaults to ''.
    """

    def __init__(self, number: int, message: str = '') -> None:
        super().__init__(message)
        self.number = number

    @property
    def by(self) -> str:
        """str: What a person calls it."""
        return 'Ctrl-C' if self.number == signal.SIGINT else signal.Signals(self.number).name


def stop_behind(error: BaseException | None) -> Stopped | None:
    """Return the stop that an exception is or comes from; None for any other.

    Libraries turn an interrupt into an error of theirs, such as MMEngine while it formats a config.
    """
    while error is not None:
        if isinstance(error, Stopped):
            return error
        if isinstance(error, KeyboardInterrupt):
            return Stopped(signal.SIGINT, str(error))
        error = error.__cause__ or error.__context__
    return None


def raise_when_stopped() -> None:
    """Raise :class:`Stopped` in this process when it is to end, so that it ends what it started.

    Ctrl-C raises a KeyboardInterrupt again, whatever it did until now.
    """
    owner = os.getpid()

    def stop(number, frame):
        if os.getpid() == owner:
            raise Stopped(number)
        if number == signal.SIGTERM:  # a process forked off this one ends as any other does
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in _STOPPING:
        if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
            signal.signal(number, stop)


def run_tool(main: Callable[[], None]) -> None:
    """Run a tool, and end the process with its exit code.

    A :class:`~mmadapt.errors.UserError` becomes one red line and exit code 2; Ctrl-C, SIGTERM and a
    closed terminal one line and exit code 128 and the signal's number. Any other exception keeps
    its traceback.

    Args:
        main (callable): The tool. The line printed when it is stopped is the text of the
            KeyboardInterrupt that it raises, if it has one.

    Raises:
        SystemExit: The tool has ended, as it had to or as it asked for.
    """
    if 'LOCAL_RANK' in os.environ:
        # The launcher ends its processes by SIGTERM once one has failed: at once, whatever a
        # collective operation of theirs is waiting for.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    else:
        raise_when_stopped()
    show_warnings_once()
    try:
        _run(main)
    except UserError as error:
        if REPORTED_BY_LAUNCHER in os.environ:
            get_error_handler().record_exception(error)
        else:
            print_error(str(error))
        _leave(USER_ERROR)
    except SystemExit as end:
        if end.code:
            _part()  # nobody else may be about to end
        raise
    except BaseException as error:
        stop = stop_behind(error)
        if stop is None:
            if isinstance(error, BrokenPipeError) and _nobody_reads():
                os._exit(128 + signal.SIGPIPE)
            raise
        # The launcher passes on what the terminal has sent already: a second one is no new wish.
        for number in (signal.SIGINT, *_STOPPING):
            signal.signal(number, signal.SIG_IGN)
        _say_stopped(str(stop) or f'Stopped by {stop.by}. To start again: {typed_command()}')
        _leave(128 + stop.number)


def _nobody_reads() -> bool:
    """Return whether what this process prints goes to a program that has ended, such as head."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), select.POLLOUT)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def typed_command() -> str:
    """Return the command that the user has typed to start this process."""
    return shlex.join(typed_words())


def _run(main: Callable[[], None]) -> None:
    """Run a tool; an empty data set, a full disk and a misspelled argument become a UserError."""
    try:
        main()
    except OSError as error:
        from ..files.writing import full_disk

        full = full_disk(error)
        if full is None:
            raise
        raise full from error
    except ValueError as error:
        # At the beginning it would take each tool a second.
        from ..datasets.nothing_left import nothing_left

        empty = nothing_left(error)
        if empty is not None:
            raise empty from None
        if _LONE in str(error):
            raise UserError(
                f'{error}: a norm of the model is given one value of each channel, as in a batch '
                'of one image, or for RTMO of one object; take a larger '
                'train_dataloader.batch_size, and train_dataloader.drop_last=True where it is the '
                'last batch of an epoch that has few'
            ) from error
        raise
    except (KeyError, TypeError) as error:
        from ..preflight import explain_building

        misspelled = explain_building(error)
        if misspelled is None:
            raise
        raise UserError(misspelled) from error


def print_error(message: str) -> None:
    """Write a message to stderr, red where that is a terminal."""
    with suppress(OSError):  # the terminal may be gone
        sys.stderr.write(colored(message, 'red', force_color=sys.stderr.isatty() or None) + '\n')
        sys.stderr.flush()


def _say_stopped(line: str) -> None:
    if os.environ.get('LOCAL_RANK', '0') != '0':
        return
    if REPORTED_BY_LAUNCHER in os.environ:
        with suppress(OSError):
            Path(os.environ[REPORTED_BY_LAUNCHER]).write_text(line, encoding='utf-8')
    else:
        print_error(line)


def _leave(code: int) -> None:
    """Exit without waiting for the other processes, which may not be coming."""
    if not _part():
        # NCCL waits for its peers when it is destroyed, at exit too.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _part() -> bool:
    """Leave the group of processes, unless that would wait for them; return whether it is left."""
    if dist.is_available() and dist.is_initialized():
        if dist.get_backend() != 'gloo':
            return False
        dist.destroy_process_group()
    return True
