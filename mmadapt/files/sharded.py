"""Checkpoints that are folders, to which every process of a run writes what it has.

The pieces of the weights are safetensors files of ``torch.distributed.checkpoint``; everything else
is one file of ``torch.save``, in which a tensor without values stands where the pieces belong.
Neither is read by running code. The ``.metadata`` that ``torch.distributed.checkpoint`` writes by
default is a pickle, which would be: there is none.
"""

import os.path as osp
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from mmengine.dist import all_gather_object, broadcast_object_list, is_main_process
from safetensors import SafetensorError
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.utils._pytree import keystr, tree_map_only, tree_map_with_path

from ..errors import UserError
from .atomic import replace_folder
from .writing import said_of, save_torch

REST = 'rest.pth'


def is_sharded(path: str) -> bool:
    """Return whether there is a folder of :func:`write_sharded`."""
    return osp.isfile(osp.join(path, REST))


def write_sharded(folder: str, checkpoint: Mapping) -> None:
    """Write a checkpoint to a folder, atomically; to be called by all processes.

    Args:
        folder (str): Where to, on a file system that all processes see.
        checkpoint (Mapping): What it is to hold. Sharded tensors are written by the processes that
            have them, everything else by the first one.

    Raises:
        UserError: ``folder`` is not a local path, or something else is there.
        WriteError: A process, maybe another one, cannot write its part. What was there before is
            whole.
    """
    if '://' in str(folder):
        raise UserError(
            f'{folder} is not a local folder, to which sharded checkpoints are written;'
            ' set strategy.sharded_checkpoints=False'
        )
    if osp.exists(folder) and not is_sharded(folder):
        raise UserError(
            f'{folder} is there and is no sharded checkpoint; move it away or choose '
            'another work_dir'
        )
    own_error = None
    try:
        (_write_first if is_main_process() else _write_part)(folder, checkpoint)
    except UserError as error:
        own_error = error
    # No process goes on as if it were written, or waits for one that has stopped.
    for failed in all_gather_object(own_error):
        if failed is not None:
            raise failed


def _write_first(folder: str, checkpoint: Mapping) -> None:
    is_told = False

    def write(path: Path) -> None:
        nonlocal is_told
        is_told = True
        broadcast_object_list([str(path)])
        _write(path, checkpoint)

    try:
        replace_folder(folder, write)
    except UserError:
        if not is_told:
            broadcast_object_list([None])
        raise


def _write_part(folder: str, checkpoint: Mapping) -> None:
    received = [None]
    broadcast_object_list(received)
    if received[0] is not None:
        with said_of(folder):
            _write(Path(received[0]), checkpoint)


def _write(path: Path, checkpoint: Mapping) -> None:
    from torch.distributed.checkpoint import HuggingFaceStorageWriter, save

    pieces: dict[str, Tensor] = {}

    def take(key, value):
        if not isinstance(value, DTensor):
            return value
        pieces[keystr(key)] = value.detach()
        return torch.empty(value.shape, dtype=value.dtype, device='meta')

    rest = tree_map_with_path(take, checkpoint)
    if pieces:
        with _ordinary_errors():
            save(pieces, storage_writer=HuggingFaceStorageWriter(str(path), save_distributed=True))
    if is_main_process():
        save_torch(tree_map_only(Tensor, _on_cpu, rest), path / REST)


@contextmanager
def _ordinary_errors() -> Iterator[None]:
    """Raise what a process has met, which torch puts into something that is no Exception."""
    from torch.distributed.checkpoint import CheckpointException

    try:
        yield
    except CheckpointException as error:
        met, _ = next(iter(error.failures.values()))
        raise met from error


def _on_cpu(tensor: Tensor) -> Tensor:
    return tensor if tensor.is_meta else tensor.cpu()


def read_sharded(folder: str) -> dict:
    """Read a checkpoint of any number of processes, whole.

    Args:
        folder (str): What :func:`write_sharded` has written.

    Returns:
        dict: The checkpoint, on the CPU.

    Raises:
        UserError: A file of it is missing or damaged.
    """
    rest = torch.load(osp.join(folder, REST), map_location='cpu', weights_only=True)
    wanted: dict[str, Tensor] = {}

    def empty(key, value):
        if isinstance(value, Tensor) and value.is_meta:
            value = wanted[keystr(key)] = torch.empty_like(value, device='cpu')
        return value

    checkpoint = tree_map_with_path(empty, rest)
    if wanted:
        _fill(wanted, folder)
    return checkpoint


def _fill(wanted: dict[str, Tensor], folder: str) -> None:
    from torch.distributed.checkpoint import HuggingFaceStorageReader, load
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata

    try:
        found = HuggingFaceStorageReader(folder).read_metadata().state_dict_metadata
        for key, tensor in wanted.items():
            stored = found.get(key)
            pieces = stored.chunks if isinstance(stored, TensorStorageMetadata) else []
            if sum(piece.sizes.numel() for piece in pieces) != tensor.numel():
                raise UserError(f'{folder} is incomplete: a file with a piece of {key} is missing')
        with warnings.catch_warnings(), _ordinary_errors():
            warnings.filterwarnings('ignore', message='torch.distributed is disabled')
            load(wanted, storage_reader=HuggingFaceStorageReader(folder), no_dist=True)
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise UserError(f'{folder} is damaged: {error}') from error
