"""torchrun with short errors.

What torchrun does not do: it refuses more processes than GPUs, shows an error of the user once
instead of once a process, says in one line that it was stopped and how to go on, leaves out its own
traceback, and exits with the exit code of the script.
"""

import logging
import os
import signal
import sys
import tempfile
from pathlib import Path

import torch
from torch.distributed import run
from torch.distributed.elastic.agent.server import api as agent
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing import api as processes
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from .exit import (
    REPORTED_BY_LAUNCHER,
    USER_ERROR,
    Stopped,
    print_error,
    raise_when_stopped,
    stop_behind,
    typed_command,
)


def prepare(args) -> str | None:
    """Set the threads of a process; return what is wrong with the number of processes."""
    wanted, gpus = int(args.nproc_per_node), torch.cuda.device_count()
    if gpus and wanted > gpus:
        return (
            f'{wanted} processes on this machine, which has {gpus} '
            f'GPU{"s" if gpus > 1 else ""}: ask for at most {gpus}, or hide the GPUs with '
            'CUDA_VISIBLE_DEVICES= to train on the CPU'
        )
    if not gpus:
        # Without a number every process takes all cores, and they get in each other's way.
        cores = len(os.sched_getaffinity(0))
        os.environ.setdefault('OMP_NUM_THREADS', str(max(1, cores // wanted)))
    return None


def explain(failure) -> str | None:
    """Return the line to show for a failed process; None when it has shown its own."""
    if failure.exitcode < 0:
        hint = (
            '; the system kills what takes more memory than there is'
            if failure.exitcode == -signal.SIGKILL
            else ''
        )
        return (
            f'process {failure.local_rank} was ended by signal {-failure.exitcode} '
            f'({failure.signal_name()}){hint}'
        )
    if isinstance(failure.message, dict) and failure.exitcode == USER_ERROR:
        return failure.message['message'].removeprefix('UserError: ')
    return None


def start_before_stopping() -> None:
    """Let signals wait while processes are started, and in these until they are ready for them.

    torch's launcher would lose a process that it is just starting, and Python is a traceback when
    it is interrupted before its first line.
    """
    start, stop = LocalElasticAgent._start_workers, processes._terminate_process_handler
    starting: list[bool] = []
    came: list[int] = []

    def stop_later(number, frame):
        if not starting:
            stop(number, frame)
        came.append(number)

    def start_all(self, *args):
        starting.append(True)
        # Inherited; mmadapt_command takes it back.
        mask = signal.pthread_sigmask(
            signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
        )
        try:
            started = start(self, *args)
        finally:
            starting.clear()
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if came:
            stop(came[0], None)
        return started

    LocalElasticAgent._start_workers = start_all  # type: ignore[method-assign]  # as said above
    processes._terminate_process_handler = stop_later


def launch(arguments: list[str]) -> int:
    """Start the processes of a run on this machine, and wait for them.

    Args:
        arguments (list[str]): torchrun's: its options, a script or ``-m`` and a module, and what
            that one takes.

    Returns:
        int: The exit code of the run.
    """
    args = run.parse_args(arguments)
    problem = prepare(args)
    if problem:
        print_error(problem)
        return USER_ERROR
    for module in (agent, processes):  # a line for every process that they stop
        module.logger.setLevel(logging.CRITICAL)
    training = 'train' in (Path(args.training_script).stem, *args.training_script_args[:1])
    with tempfile.NamedTemporaryFile(prefix='mmadapt_') as said:
        os.environ[REPORTED_BY_LAUNCHER] = said.name
        try:
            raise_when_stopped()
            start_before_stopping()
            run.run(args)
        except ChildFailedError as error:
            _, failure = error.get_first_failure()
            line = explain(failure) or said.read().decode()
            if line:
                print_error(line)
            return failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode
        except processes.SignalException as error:
            return stopped(Stopped(error.sigval), said.read().decode(), training)
        except KeyboardInterrupt as error:
            stop = stop_behind(error)
            assert stop is not None  # an interrupt is one
            return stopped(stop, said.read().decode(), training)
    return 0


def stopped(stop: Stopped, said: str, training: bool) -> int:
    """Show what the first process has said of being stopped, else how to go on; return the code."""
    hint = (
        '; with --resume it goes on from the last checkpoint of its work directory'
        if training and '--resume' not in typed_command()
        else ''
    )
    print_error(said or f'Stopped by {stop.by}. To start again: {typed_command()}{hint}')
    return 128 + stop.number


if __name__ == '__main__':
    sys.exit(launch(sys.argv[1:]))
