"""Processes of a test that work together: no port is guessed, and none of them is left behind."""

import importlib.util
import inspect
import multiprocessing
import os
import queue
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest import mock

import torch.distributed as dist


@contextmanager
def meeting() -> Iterator[dict[str, str]]:
    """Keep a store where processes meet, as torch's launcher does.

    A port that is looked for, closed and opened again by the first process may be another's by
    then.

    Yields:
        dict[str, str]: Environment variables for the processes; ranks come beside them.
    """
    store = dist.TCPStore('127.0.0.1', 0, is_master=True, wait_for_workers=False)
    yield dict(
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=str(store.port),
        TORCHELASTIC_USE_AGENT_STORE='True',
        TORCHELASTIC_RESTART_COUNT='0',
    )


def run_together(
    function: Callable, processes: int, *args, results: int = 0, timeout: float = 300
) -> list:
    """Call a function in new processes, which can meet by their environment.

    Args:
        function (Callable): Gets its rank, ``args`` and a queue for what it returns.
        processes (int): How many.
        args: What else it gets.
        results (int): How many things all of them put into the queue. Defaults to 0.
        timeout (float): After how many seconds it has failed, as when one of them does.

    Returns:
        list: Those, in any order.
    """
    where = function.__module__, inspect.getfile(function), function.__name__
    context, end = multiprocessing.get_context('spawn'), time.monotonic() + timeout
    returned, found, started = context.Queue(), [], []
    try:
        with meeting() as environment, mock.patch.dict(os.environ, environment):
            for rank in range(processes):
                process = context.Process(target=_call, args=(where, (rank, *args, returned)))
                process.start()
                started.append(process)
            while len(found) < results or any(process.is_alive() for process in started):
                codes = [process.exitcode for process in started]
                assert not any(codes), f'the processes ended with {codes}'
                assert time.monotonic() < end, f'after {timeout} s: {codes}'
                try:
                    found.append(returned.get(timeout=0.1))
                except queue.Empty:
                    continue
    finally:
        for process in started:
            process.kill()
            process.join()
    assert [process.exitcode for process in started] == [0] * processes
    return found


def _call(where: tuple[str, str, str], args: tuple) -> None:
    """Call a function of a file: by its name, `tests.x`, another installed package would answer."""
    module, path, name = where
    spec = importlib.util.spec_from_file_location(module, path)
    sys.modules[module] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[module])
    getattr(sys.modules[module], name)(*args)
