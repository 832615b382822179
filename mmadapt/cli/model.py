"""From a config to its model, without data."""

import os.path as osp

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from ..errors import UserError
from ..tuning import PEFTConfig


def build_model(cfg: Config) -> nn.Module:
    """Build the model of a config, on the CPU, its weights random."""
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    return MODELS.build(cfg.model)


def get_peft(cfg: Config) -> PEFTConfig:
    """Read the ``peft`` key of a config.

    Raises:
        UserError: There is none, or it is wrong.
    """
    if cfg.get('peft') is None:
        raise UserError('the config has no `peft`; inherit configs/_base_/peft/lora.py or write '
                        '--cfg-options peft.method.type=LoRA')
    return PEFTConfig.parse(cfg.peft)


def local_file(location: str) -> str | None:
    """Return the file that a path or URL means on this machine, without downloading anything.

    Args:
        location (str): A path, or a URL whose file may be in torch's download cache.

    Returns:
        str, optional: The path; None if the file is not here.
    """
    if '://' in location:
        location = osp.join(torch.hub.get_dir(), 'checkpoints', osp.basename(location))
    return location if osp.isfile(location) else None
