"""torchrun for tools/train.py and tools/test.py, with short errors; what dist_*.sh call.

    python tools/launch.py TORCHRUN_ARGS SCRIPT SCRIPT_ARGS

What torchrun does not do: it refuses more processes than GPUs, shows an error of the user once
instead of once a process, leaves out its own traceback, and exits with the exit code of the script.
"""

import logging
import os
import signal
import sys

import torch
from torch.distributed import run
from torch.distributed.elastic.agent.server import api as agent
from torch.distributed.elastic.multiprocessing import api as processes
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from mmadapt.cli.exit import INTERRUPTED, REPORTED_BY_LAUNCHER, USER_ERROR, print_error


def prepare(args) -> str | None:
    """Set the threads of a process; return what is wrong with the number of processes."""
    wanted, gpus = int(args.nproc_per_node), torch.cuda.device_count()
    if gpus and wanted > gpus:
        return (f'{wanted} processes on this machine, which has {gpus} '
                f'GPU{"s" if gpus > 1 else ""}: ask for at most {gpus}, or hide the GPUs with '
                'CUDA_VISIBLE_DEVICES= to train on the CPU')
    if not gpus:
        # Without a number every process takes all cores, and they get in each other's way.
        cores = len(os.sched_getaffinity(0))
        os.environ.setdefault('OMP_NUM_THREADS', str(max(1, cores // wanted)))
    return None


def explain(failure) -> str | None:
    """Return the line to show for a failed process; None when it has shown its own."""
    if failure.exitcode < 0:
        hint = ('; the system kills what takes more memory than there is'
                if failure.exitcode == -signal.SIGKILL else '')
        return (f'process {failure.local_rank} was ended by signal {-failure.exitcode} '
                f'({failure.signal_name()}){hint}')
    if isinstance(failure.message, dict) and failure.exitcode == USER_ERROR:
        return failure.message['message'].removeprefix('UserError: ')
    return None


def main() -> int:
    args = run.parse_args(sys.argv[1:])
    problem = prepare(args)
    if problem:
        print_error(problem)
        return USER_ERROR
    os.environ[REPORTED_BY_LAUNCHER] = '1'
    for module in (agent, processes):  # a line for every process that they stop
        module.logger.setLevel(logging.CRITICAL)
    try:
        run.run(args)
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        line = explain(failure)
        if line:
            print_error(line)
        return failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode
    except processes.SignalException as error:
        return 128 + int(error.sigval)
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


if __name__ == '__main__':
    sys.exit(main())
