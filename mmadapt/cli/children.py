"""Commands that a tool starts, and that do not outlive it."""

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

# A launcher of several processes ends those first.
_PATIENCE = 40


@contextmanager
def child(command: Sequence[str], **options) -> Iterator[subprocess.Popen]:
    """Start a command, and end it and what it has started when the block is left early.

    It has a session of its own: Ctrl-C in the terminal reaches this process alone.

    Args:
        command (Sequence[str]): Program and arguments.
        options: What ``subprocess.Popen`` takes.

    Yields:
        subprocess.Popen: The command, running.
    """
    process = subprocess.Popen(command, start_new_session=True, **options)
    try:
        yield process
    except BaseException:
        _end(process)
        raise


def _end(process: subprocess.Popen) -> None:
    """End a command politely, then not; nobody who is impatient can make it leave something."""
    before = {
        number: signal.signal(number, signal.SIG_IGN)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_PATIENCE)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if process.stdout is not None:
        process.stdout.close()
