"""Steps, their progress and their logs."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

# Without a terminal a line this often shows that a long download is alive.
HEARTBEAT_SECONDS = 30
REMEDIES = (
    (r'No space left on device', 'free some disk space and run it again'),
    (
        r'Killed signal terminated program|fatal error: Killed',
        'the compiler ran out of memory: run it again with MAX_JOBS=1 set',
    ),
    (
        r'Failed to establish a new connection|NameResolution|ReadTimeout|Connection aborted|'
        r'IncompleteRead',
        "the package index did not answer: check the network or pip's proxy settings, then run "
        'it again',
    ),
    (
        r'No matching distribution found',
        "the package index in pip's configuration lacks this version: see `pip config list`",
    ),
    (r'THESE PACKAGES DO NOT MATCH THE HASHES', 'a download was damaged: run it again'),
)


class SetupError(Exception):
    """The environment cannot be made; the message says what is wrong and how to mend it."""


def duration(seconds: float) -> str:
    """`75.3` -> `1 min 15 s`; below ten seconds one decimal."""
    if seconds < 10:
        return f'{seconds:.1f} s'
    minutes, rest = divmod(round(seconds), 60)
    return f'{minutes} min {rest:02d} s' if minutes else f'{rest} s'


class Console:
    """Prints numbered steps with their times; runs their commands and keeps what they say in logs.

    Args:
        total (int): Number of steps.
        logs (Path): Folder of the log files, one a step.
    """

    def __init__(self, total: int, logs: Path) -> None:
        self.total = total
        self.logs = logs
        # Children inherit these: one that outlives this process keeps the next run waiting.
        self.locks: list[int] = []
        self.times: list[tuple[str, float]] = []
        self.tty = sys.stdout.isatty()

    def say(self, text: str) -> None:
        print(text, flush=True)

    def live(self, text: str) -> None:
        """A line that the next one replaces, on a terminal."""
        if self.tty:
            width = max(20, os.get_terminal_size().columns - 1)
            print('\r\033[K' + text[:width], end='', flush=True)

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Announces a step, and when it ends says how long it took."""
        self.say(f'[{len(self.times) + 1}/{self.total}] {title}')
        start = time.monotonic()
        yield
        spent = time.monotonic() - start
        self.times.append((title, spent))
        self.live('')
        self.say(f'      done in {duration(spent)}')

    def run(
        self,
        command: list[str],
        log: str,
        env: dict[str, str],
        follow: Callable[[str], str | None] | None = None,
        every: int = 1,
    ) -> None:
        """Runs a command with its output in a log file.

        Args:
            command (list[str]): The command.
            log (str): Name of the log file; what is there is kept and written after.
            env (dict): The environment of the command.
            follow (Callable, optional): Gets each line of output and returns what to show, or None:
                on a terminal it is shown in place, elsewhere as a line of its own. By default it
                is pip's last action, elsewhere every 30 seconds.
            every (int): Without a terminal, of so many that `follow` returns one is shown.

        Raises:
            SetupError: The command failed; with its last 20 lines and the remedy.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        path = self.logs / f'{log}.log'
        start = time.monotonic()
        last_beat, status, tail, count = start, 'working', [], 0
        with path.open('a') as file:
            file.write(f'$ {" ".join(command)}\n')
            process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=env,
                text=True,
                errors='replace',
                start_new_session=True,
                pass_fds=self.locks,
            )
            with ended_with_us(process):
                for line in lines_or_ticks(process):
                    now = time.monotonic()
                    if line is not None:
                        file.write(line)
                        file.flush()
                        tail = [*tail[-19:], line.rstrip()]
                        shown = follow(line) if follow else pip_action(line)
                        if shown is not None:
                            status = shown
                            count += 1
                            if follow and not self.tty and count % every == 0:
                                self.say(f'      {shown}')
                                last_beat = now
                    if self.tty:
                        self.live(f'      {duration(round(now - start))}  {status}')
                    elif now - last_beat > HEARTBEAT_SECONDS:
                        self.say(f'      {duration(now - start)}: {status}')
                        last_beat = now
                code = process.wait()
        self.live('')
        if code:
            raise SetupError(failure(tail, path, code))


def failure(tail: list[str], log: Path, code: int) -> str:
    """What is said of a failed command: its last lines, where all of it is, and what to do."""
    text = '\n'.join(tail)
    known = [remedy for pattern, remedy in REMEDIES if re.search(pattern, text)]
    remedy = known[0] if known else 'mend what these lines name and run it again'
    return (
        f'a step failed (exit status {code}); its last lines:\n'
        + '\n'.join(f'    {line}' for line in tail)
        + f'\n  whole output: {log}\n  remedy: {remedy}; it continues where it stopped'
    )


def pip_action(line: str) -> str | None:
    """The part of pip's output worth showing: what it downloads and installs.

    Args:
        line (str): One line of pip's output.

    Returns:
        str | None: A short status, None for other lines.
    """
    match = re.match(r'\s*Downloading (\S+?)(?:\.metadata)? \(([^)]+)\)', line)
    if match and ' kB' not in match[2]:
        return f'downloading {match[1].rsplit("/", 1)[-1]} ({match[2]})'
    if line.startswith('Installing collected packages:'):
        return f'unpacking {line.count(",") + 1} packages'
    return None


def lines_or_ticks(process: subprocess.Popen) -> Iterator[str | None]:
    """Lines of a process' output as they come, and None after each half second without one."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        for line in process.stdout:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=0.5)
        except queue.Empty:
            yield None
            continue
        if line is None:
            return
        yield line


@contextlib.contextmanager
def ended_with_us(process: subprocess.Popen) -> Iterator[None]:
    """Ends a process and all its children when the block is left early (Ctrl-C, an error)."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
        raise
