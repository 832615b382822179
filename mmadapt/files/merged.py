"""Merged models: stock files with stock keys and no trace of an adapter."""

import copy
import os.path as osp
import pickletools
import types
import zipfile
from collections.abc import Mapping
from pickle import PicklingError
from typing import Any

from mmengine.fileio import dump
from safetensors.torch import save_file
from torch import Tensor, nn

from ..errors import UserError
from ..peft import merged_state_dict, remove
from .atomic import write_atomically
from .writing import save_torch

MERGED_NAMES = dict(
    state_dict='merged_model_state_dict.pth',
    safetensors='merged_model.safetensors',
    full_torch_model='merged_model.pth',
)
"""What the end of training calls the file, for every value of ``peft.export`` that makes one."""

READ_BY = dict(
    state_dict="load_from and MMDetection's own tools",
    safetensors='safetensors.torch.load_file; the classes are in its metadata',
    full_torch_model='torch.load(..., weights_only=False), which runs whatever a file says: only '
    'load a file like this if it comes from somebody you trust',
)
"""Who reads such a file."""

_PACKAGE = __name__.split('.')[0]
_INSTEAD = "export it as 'state_dict' or 'safetensors'"


def write_merged(
    path: str, model: nn.Module, metainfo: dict | None = None, export: str = 'state_dict'
) -> None:
    """Write the stock model that computes what an adapted model computes, atomically.

    Args:
        path (str): Where to.
        model (nn.Module): An adapted model; it is not changed.
        metainfo (dict, optional): The data set's ``metainfo``, which tells MMDetection's inference
            tools the class names.
        export (str): ``'state_dict'``: an ordinary checkpoint; ``'safetensors'``: the tensors by
            their stock keys, those of modules that stand under several names once for each;
            ``'full_torch_model'``: the pickled module, on the CPU and in eval mode, its
            ``dataset_meta`` set. Defaults to ``'state_dict'``.

    Raises:
        UserError: ``path`` is a folder, or the model cannot be pickled without this package.
        WriteError: It cannot be written.
    """
    if osp.isdir(path):
        raise UserError(f'{path} is a folder; name the file to write')
    write = dict(
        state_dict=_write_state_dict, safetensors=_write_safetensors, full_torch_model=_write_module
    )[export]
    write_atomically(path, lambda temporary: write(temporary, model, metainfo or {}))


def _write_state_dict(path: str, model: nn.Module, metainfo: dict) -> None:
    state_dict = {key: value.detach().cpu() for key, value in merged_state_dict(model).items()}
    save_torch(dict(meta=dict(dataset_meta=metainfo), state_dict=state_dict), path)


def _write_safetensors(path: str, model: nn.Module, metainfo: dict) -> None:
    # The format knows no two names of one tensor.
    tensors = {
        key: value.detach().cpu().contiguous().clone()
        for key, value in merged_state_dict(model).items()
    }
    save_file(tensors, path, dict(format='pt', dataset_meta=dump(metainfo, file_format='json')))


def _write_module(path: str, model: nn.Module, metainfo: dict) -> None:
    try:
        stock: Any = copy.deepcopy(model)
        _make_stock(stock, merged_state_dict(model))
        if metainfo:
            stock.dataset_meta = metainfo
        save_torch(stock, path)
    except (PicklingError, AttributeError, TypeError) as error:
        raise UserError(
            f'this {type(model).__name__} cannot be pickled as a whole: {error}; {_INSTEAD}'
        ) from error
    own = _own_globals(path)
    if own:
        raise UserError(
            f'this {type(model).__name__} consists of {own[0]} too, so that it could '
            f'not be read without mmadapt; {_INSTEAD}'
        )


def _make_stock(model: nn.Module, state_dict: Mapping[str, Tensor]) -> None:
    remove(model)
    for module in model.modules():
        for name, value in [*vars(module).items()]:
            if _is_put_there_for_training(value):
                delattr(module, name)
    model.load_state_dict(state_dict)
    model.cpu().eval()


def _is_put_there_for_training(value) -> bool:
    # By `memory` and `compile`, in place of a method of the class.
    return type(value).__module__.startswith(f'{_PACKAGE}.memory.') or (
        isinstance(value, types.FunctionType) and hasattr(value, '_torchdynamo_orig_callable')
    )


def _own_globals(path: str) -> list[str]:
    """Return what of this package a file of ``torch.save`` imports when it is loaded."""
    with zipfile.ZipFile(path) as archive:
        (pickled,) = (archive.read(n) for n in archive.namelist() if n.endswith('/data.pkl'))
    found = [
        str(arg).split()
        for opcode, arg, _ in pickletools.genops(pickled)
        if opcode.name == 'GLOBAL'
    ]
    return sorted(f'{module}.{name}' for module, name in found if module.split('.')[0] == _PACKAGE)
