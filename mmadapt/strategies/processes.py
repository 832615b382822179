"""How the processes of a run start, and one that no launcher has started."""

import atexit
import os

import torch.distributed as dist
from mmengine.device import get_device


def backend_for(backend: str, offload: bool) -> str:
    """Return the backend to start processes with: what waits on the CPU is reduced there."""
    return (
        'cpu:gloo,cuda:nccl'
        if offload and backend == 'nccl' and get_device() == 'cuda'
        else backend
    )


def start_alone(offload: bool) -> None:
    """Make this process, started without a launcher, a run of one."""
    if not dist.is_initialized():
        os.environ.setdefault('LOCAL_RANK', '0')
        backend = 'gloo' if get_device() == 'cpu' else backend_for('nccl', offload)
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
        atexit.register(_leave)


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
