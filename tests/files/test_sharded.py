"""Checkpoints that are folders: what is said when a process cannot write or read its part."""

import multiprocessing
import resource
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import save_file
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from mmadapt import UserError
from mmadapt.errors import WriteError
from mmadapt.files import write_sharded
from mmadapt.files.sharded import read_sharded


def checkpoint(value, size=100):
    mesh = init_device_mesh('cpu', (dist.get_world_size(),))
    return dict(
        meta=dict(value=value),
        state_dict=dict(
            weight=distribute_tensor(torch.full((size, size), value), mesh, [Shard(0)])
        ),
    )


def limit_files(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def _process(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', f'file://{folder}/store', rank=rank, world_size=2)
    write_sharded(f'{folder}/ckpt', checkpoint(1.0))
    said = []
    for path, full in ((f'{folder}/ckpt', 1), (f'{folder}/ckpt', 0), (f'{folder}/store/x', None)):
        limit_files(5_000 if rank == full else resource.RLIM_INFINITY)
        try:
            write_sharded(path, checkpoint(2.0))
        except WriteError as error:
            said.append(str(error))
    limit_files(resource.RLIM_INFINITY)
    torch.save(said, f'{folder}/said_{rank}.pth')
    if rank == 0:
        torch.save(read_sharded(f'{folder}/ckpt'), f'{folder}/left.pth')
    write_sharded(f'{folder}/ckpt', checkpoint(3.0))
    dist.barrier()
    dist.destroy_process_group()


def test_all_processes_learn_that_one_cannot_write_its_part(tmp_path):
    context = multiprocessing.get_context('fork')
    processes = [context.Process(target=_process, args=(rank, tmp_path)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=120)
    assert [process.exitcode for process in processes] == [0, 0]
    first, second = (torch.load(tmp_path / f'said_{rank}.pth') for rank in range(2))
    assert (
        first
        == second
        == [f'{tmp_path}/ckpt cannot be written: File too large'] * 2
        + [f'{tmp_path}/store/x cannot be written: {tmp_path}/store is no folder']
    )
    left = torch.load(tmp_path / 'left.pth')
    assert (left['state_dict']['weight'] == 1).all(), 'the older one is not whole'
    assert (read_sharded(str(tmp_path / 'ckpt'))['state_dict']['weight'] == 3).all()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith('.')]


@pytest.fixture
def folder(tmp_path):
    dist.init_process_group('gloo', f'file://{tmp_path}/store', rank=0, world_size=1)
    write_sharded(str(tmp_path / 'ckpt'), checkpoint(1.0))
    yield tmp_path / 'ckpt'
    dist.destroy_process_group()


def test_a_piece_of_another_shape_is_an_ordinary_error(folder):
    """Torch raises what no `except Exception` catches."""
    (piece,) = folder.glob('*.safetensors')
    with safe_open(piece, 'pt') as file:
        tensors = {key: file.get_tensor(key).reshape(50, 200) for key in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    save_file(tensors, piece, metadata)
    with pytest.raises(UserError, match=rf'{folder} is damaged: .'):
        read_sharded(str(folder))


def test_an_interrupt_that_torch_has_collected_is_one(folder, monkeypatch):
    from torch.distributed.checkpoint import HuggingFaceStorageWriter

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(HuggingFaceStorageWriter, 'write_data', interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_sharded(str(folder), checkpoint(2.0))
    assert (read_sharded(str(folder))['state_dict']['weight'] == 1).all()
    assert sorted(path.name for path in folder.parent.iterdir()) == ['ckpt', 'store']


def test_a_folder_that_is_no_checkpoint_is_not_replaced(tmp_path):
    (tmp_path / 'ckpt').mkdir()
    Path(tmp_path, 'ckpt', 'mine').touch()
    with pytest.raises(UserError, match='is there and is no sharded checkpoint'):
        write_sharded(str(tmp_path / 'ckpt'), dict(meta={}))
