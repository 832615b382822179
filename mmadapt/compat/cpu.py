"""Several processes and mixed precision without an accelerator.

MMEngine 0.10 assumes a CUDA device in four places of its distributed start: ``set_device``, the
NCCL backend, DDP's ``device_ids`` and SyncBatchNorm; and ``AmpOptimWrapper`` refuses to be built,
although its autocast knows the CPU. None of them has a config option that stock tools could set, so
they are wrapped here, and act only where there is no accelerator. On every machine the processes of
a run leave it together.
"""

import atexit
import functools
import sys
from datetime import timedelta
from threading import current_thread, main_thread
from unittest import mock

import torch
import torch.distributed as dist
from mmengine.device import get_device
from mmengine.dist import utils as dist_utils
from mmengine.model import MMDistributedDataParallel, revert_sync_batchnorm
from mmengine.optim.optimizer import amp_optimizer_wrapper

from ..logs import warn

# The first process may still be writing what the training leaves.
_EXIT_TIMEOUT = timedelta(minutes=10)
_exit = sys.exit
_failed = False


def repair_cpu() -> None:
    """Let stock MMEngine run several processes, and autocast, on CPUs. Idempotent."""
    if getattr(dist_utils, '_mmadapt_repaired', False):
        return
    dist_utils._mmadapt_repaired = True
    for name in ('_init_dist_pytorch', '_init_dist_mpi', '_init_dist_slurm'):
        setattr(dist_utils, name, _init_without_cuda(getattr(dist_utils, name)))
    MMDistributedDataParallel.__init__ = _wrap_on_cpu(MMDistributedDataParallel.__init__)
    amp = amp_optimizer_wrapper.AmpOptimWrapper
    amp.__init__ = _build_amp_on_cpu(amp.__init__)


def _init_without_cuda(init):

    @functools.wraps(init)
    def wrapper(backend, **kwargs):
        atexit.register(_leave)
        if sys.exit is _exit:
            sys.exit = _exit_alone
        if get_device() != 'cpu':
            return init(backend, **kwargs)
        if backend == 'nccl':
            backend = 'gloo'
        with mock.patch.object(torch.cuda, 'set_device', lambda *_: None):
            return init(backend, **kwargs)

    return wrapper


def _exit_alone(status=None, /):
    # Python tells what runs at exit of an exception, but not of a SystemExit.
    global _failed
    _failed = _failed or (bool(status) and current_thread() is main_thread())
    _exit(status)


def _leave() -> None:
    # A process that exits while another still talks to it makes that one abort, about once in eight
    # runs. After an error nobody is waited for: the others wait for this one, for ever.
    if not dist.is_initialized():
        return
    crashed = _failed or getattr(sys, 'last_value', None) is not None
    if crashed and dist.get_backend() != 'gloo':
        return  # NCCL would wait for the others; the launcher ends them
    if not crashed and dist.get_backend() == 'gloo':
        try:
            dist.monitored_barrier(timeout=_EXIT_TIMEOUT)
        except RuntimeError as error:
            warn(f'another process has gone: {error}')
    dist.destroy_process_group()


def _wrap_on_cpu(init):

    @functools.wraps(init)
    def wrapper(self, module, *args, **kwargs):
        if all(p.device.type == 'cpu' for p in module.parameters()):
            # DDP refuses both on a CPU; MMEngine passes the first always.
            kwargs['device_ids'] = None
            if any(isinstance(m, torch.nn.SyncBatchNorm) for m in module.modules()):
                warn('SyncBatchNorm does not run on CPUs: BatchNorm takes its place')
                module = revert_sync_batchnorm(module)
        init(self, module, *args, **kwargs)

    return wrapper


def _build_amp_on_cpu(init):

    @functools.wraps(init)
    def wrapper(self, *args, **kwargs):
        if get_device() != 'cpu':
            return init(self, *args, **kwargs)
        # Autocast on a CPU computes in bfloat16, which needs no loss scaling; the scaler that is
        # built all the same finds no CUDA and disables itself.
        with mock.patch.object(amp_optimizer_wrapper, 'is_cuda_available', lambda: True):
            return init(self, *args, **kwargs)

    return wrapper
