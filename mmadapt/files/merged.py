"""Merged models: ordinary checkpoints with stock keys and no trace of an adapter."""

import os.path as osp

import torch
from torch import nn

from ..errors import UserError
from ..tuning import merged_state_dict
from .atomic import write_atomically

MERGED_NAME = 'merged_model_state_dict.pth'


def write_merged(path: str, model: nn.Module, metainfo: dict | None = None) -> None:
    """Write the stock checkpoint that computes what an adapted model computes, atomically.

    Args:
        path (str): Where to.
        model (nn.Module): An adapted model; it is not changed.
        metainfo (dict, optional): The data set's ``metainfo``, which tells MMDetection's inference
            tools the class names.

    Raises:
        UserError: ``path`` is a folder.
    """
    if osp.isdir(path):
        raise UserError(f'{path} is a folder; name the file to write')
    state_dict = {key: value.detach().cpu() for key, value in merged_state_dict(model).items()}
    checkpoint = dict(meta=dict(dataset_meta=metainfo or {}), state_dict=state_dict)
    write_atomically(path, lambda temporary: torch.save(checkpoint, temporary))
