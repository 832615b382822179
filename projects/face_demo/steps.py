"""Runs the demo's commands as real subprocesses: everything in a log, the gist on the screen."""

import os
import re
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from mmadapt.cli.children import child

ROOT = Path(__file__).resolve().parents[2]
_PROGRESS = re.compile(
    r'(?P<at>(?:Epoch|Iter)\(train\)\s+\[.*?\](?:\[.*?\])?).*?(?P<eta>eta: \S+).*?'
    r'(?P<loss>loss: [\d.]+|loss: nan)'
)
_RESULT = re.compile(
    r'(?:Epoch|Iter)\((?:val|test)\).*?(?P<ap>coco/bbox_mAP: \S+)\s+'
    r'coco/bbox_mAP_50: (?P<ap50>\S+)'
)


class StepFailed(RuntimeError):
    """A command of the demo ended with an error; the text says which and shows its last lines."""


def environment(processes: int) -> dict[str, str]:
    """The environment of a step: this interpreter first, this tree importable, cores shared out.

    Args:
        processes (int): how many processes the step will start.

    Returns:
        dict[str, str]: a copy of this process' environment with what is needed changed.
    """
    env = dict(os.environ)
    if sys.prefix != sys.base_prefix:
        env['VIRTUAL_ENV'] = sys.prefix
    env['PATH'] = os.pathsep.join((str(Path(sys.executable).parent), env.get('PATH', '')))
    env['PYTHONPATH'] = os.pathsep.join(filter(None, (str(ROOT), env.get('PYTHONPATH'))))
    env.setdefault('OMP_NUM_THREADS', str(max(1, len(os.sched_getaffinity(0)) // processes)))
    # A thread that spins while it waits for one whose core something else has makes it wait longer:
    # by factors where another program computes, for some percent where none does.
    env.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    return env


def gist(line: str) -> str | None:
    """What of a line of MMEngine's log goes to the screen; None for nothing."""
    if match := _PROGRESS.search(line):
        return '  '.join(re.sub(r'\s+', ' ', match[key]) for key in ('at', 'loss', 'eta'))
    if match := _RESULT.search(line):
        return f'AP50 {float(match["ap50"]):.3f}  AP {float(match["ap"].split()[1]):.3f}'
    if 'trainable params:' in line:
        return line[line.index('trainable params:') :].strip()
    return None


def run(command: Sequence[str], log: Path, processes: int = 1) -> float:
    """Runs a command in the repository's root and waits for it.

    Args:
        command (Sequence[str]): program and arguments.
        log (Path): gets everything it prints; overwritten.
        processes (int): how many processes it will start. Defaults to 1.

    Returns:
        float: wall time in seconds.

    Raises:
        StepFailed: it could not be started or its exit status is not 0.
    """
    print(f'   $ {" ".join(command)}', flush=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    last, start = deque(maxlen=15), time.monotonic()
    try:
        with (
            child(
                command,
                cwd=ROOT,
                env=environment(processes),
                text=True,
                errors='replace',
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            ) as process,
            log.open('w') as file,
        ):
            for line in process.stdout:
                file.write(line)
                file.flush()
                last.append(line.rstrip())
                if text := gist(line):
                    print(f'   {text}', flush=True)
            status = process.wait()
    except FileNotFoundError as error:
        raise StepFailed(f'{command[0]} could not be started: {error}') from error
    if status:
        lines = '\n'.join(f'   | {line}' for line in last)
        raise StepFailed(
            f'{" ".join(command)}\n   ended with status {status}; its last lines:\n{lines}\n'
            f'   all of it: {log}'
        )
    return time.monotonic() - start
