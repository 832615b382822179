"""Scripts in processes that have imported MMDetection already: that takes longer than most of them.

They are forked off one that has done nothing else yet. What a user starts, and torch's own
launcher, is tested by tests/tools, tests/projects and tests/hooks/test_resume.py.
"""

import multiprocessing
import os
import runpy
import sys
import tempfile
import time
import warnings
from multiprocessing import connection, forkserver
from pathlib import Path
from unittest import mock

from shortcuts import shortcuts
from together import meeting

_PROCESSES = multiprocessing.get_context('forkserver')
_PROCESSES.set_forkserver_preload(
    [
        'torch.distributed.run',
        'mmdet.apis',
        'mmdet.models',
        'mmdet.datasets',
        'mmdet.evaluation',
        'mmdet.engine',
    ]
)


def launch(
    script: Path,
    arguments: list[str],
    environment: dict[str, str],
    processes: int = 1,
    timeout: float = 600,
) -> tuple[int, str]:
    """Run a script to its end, as torch's launcher does if there are several processes.

    Args:
        script (Path): The script; several processes are told by ``--launcher pytorch``.
        arguments (list[str]): What follows its name.
        environment (dict[str, str]): All environment variables.
        processes (int): How many run together. Once one fails, the others are stopped.
        timeout (float): After how many seconds they are stopped too.

    Returns:
        tuple[int, str]: The exit code, of the first that fails if one does, and what they printed.
    """
    with mock.patch.dict(os.environ, environment, clear=True):
        forkserver.ensure_running()
    with tempfile.TemporaryDirectory() as folder, meeting() as several:
        several.update(WORLD_SIZE=str(processes), LOCAL_WORLD_SIZE=str(processes))
        output = Path(folder, 'output')
        output.touch()
        started = []
        for rank in range(processes):
            own = dict(several, RANK=str(rank), LOCAL_RANK=str(rank)) if processes > 1 else {}
            started.append(
                _PROCESSES.Process(
                    target=_become,
                    args=(str(script), arguments, {**environment, **own}, str(output)),
                )
            )
            started[-1].start()
        code = _wait(started, timeout)
        return code, output.read_text(errors='replace')


def _become(script: str, arguments: list[str], environment: dict[str, str], output: str) -> None:
    import numpy as np

    file = os.open(output, os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.environ.clear()
    os.environ.update(environment)
    np.random.seed()  # forked processes would all begin with the same one
    warnings.simplefilter('ignore')
    sys.path[:0] = [str(Path(script).parent), *environment['PYTHONPATH'].split(os.pathsep)]
    sys.argv = [script, *arguments]
    with shortcuts():
        runpy.run_path(script, run_name='__main__')


def _wait(processes: list, timeout: float) -> int:
    end = time.monotonic() + timeout
    running, code = {process.sentinel: process for process in processes}, 0
    while running and code == 0:
        ended = connection.wait(running, max(end - time.monotonic(), 0))
        for sentinel in ended:
            process = running.pop(sentinel)
            process.join()
            code = code or process.exitcode
        if not ended:
            code = -1
    for process in running.values():
        process.kill()
        process.join()
    return code
