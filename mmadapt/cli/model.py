"""What tools read of a config's model and its files."""

import os.path as osp

import torch
from mmengine.config import Config

from ..config_files import inherited
from ..errors import UserError
from ..files import is_checkpoint
from ..peft import PEFTConfig


def get_peft(cfg: Config) -> PEFTConfig:
    """Read the ``peft`` key of a config.

    Args:
        cfg (Config): A whole config.

    Returns:
        PEFTConfig: What it asks for.

    Raises:
        UserError: There is none, or it is wrong.
    """
    if cfg.get('peft') is None:
        raise UserError(
            f'the config has no `peft`; inherit {inherited("peft/lora.py")} or write '
            '--cfg-options peft.method.type=LoRA'
        )
    return PEFTConfig.parse(cfg.peft)


def local_file(location: str) -> str | None:
    """Return the file that a path or URL means on this machine, without downloading anything.

    Args:
        location (str): A path, or a URL whose file may be in torch's download cache.

    Returns:
        str, optional: The path; None if there is no such checkpoint here.
    """
    if '://' in location:
        location = osp.join(torch.hub.get_dir(), 'checkpoints', osp.basename(location))
    return location if is_checkpoint(location) else None
