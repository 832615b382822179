"""Reading a checkpoint, from wherever, and why one cannot be read."""

import os.path as osp
import re
from collections.abc import Mapping
from os import listdir
from pickle import UnpicklingError
from urllib.error import URLError

from mmengine.runner import CheckpointLoader

from ..downloads import why_not_downloaded
from ..errors import UserError
from ..logs import logger
from ..values import close_names
from .loader import is_checkpoint, refuse_adapter
from .sharded import REST
from .trained_part import unguard

_NOT_DOWNLOADED = (
    'cannot download {path} ({reason}); fetch it by hand and set load_from to the file'
)


def read_checkpoint(path: str) -> dict:
    """Read a checkpoint from a file or URL, onto the CPU, running no code of it.

    One that holds only what was trained is read like any other: what it lacks is the reader's
    business.

    Args:
        path (str): Anything that MMEngine's ``load_from`` takes.

    Returns:
        dict: The checkpoint; ``state_dict`` is set even where the file is a bare state dict, and
        has no ``module.`` prefixes.

    Raises:
        UserError: There is no such file, it cannot be downloaded, or it is no checkpoint.
    """
    refuse_adapter(path)
    if osp.isdir(path) and not is_checkpoint(path):
        raise UserError(
            f'{path} is a folder without {REST}, so that FSDP2Strategy has not written '
            'it; one of DeepSpeed or of another strategy has to be converted to a file '
            'by what wrote it'
        )
    try:
        checkpoint = CheckpointLoader.load_checkpoint(path, map_location='cpu', logger=logger())
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f'checkpoint {path} not found{_neighbors(path)}') from None
    except URLError as error:
        raise UserError(_NOT_DOWNLOADED.format(path=path, reason=error.reason)) from None
    except UnpicklingError as error:
        names = re.findall(r'GLOBAL (\S+)', str(error))
        if not names:
            raise UserError(f'{path} is not a readable checkpoint, or only half of one') from error
        raise UserError(
            f'{path} names {names[0]}, which could run code when it is read; ask its '
            'author for a file that holds the state dict alone'
        ) from error
    except Exception as error:  # torch raises whatever the zip reader met
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f'{path} is not a readable checkpoint, or only half of one: {reason}'
        ) from error
    if not isinstance(checkpoint, Mapping):
        raise UserError(f'{path} holds a {type(checkpoint).__name__}, not a state dict')
    if 'state_dict' not in checkpoint:
        checkpoint = dict(state_dict=checkpoint)
    checkpoint = dict(checkpoint)
    unguard(checkpoint)
    checkpoint['state_dict'] = {
        key.removeprefix('module.'): value for key, value in checkpoint['state_dict'].items()
    }
    return checkpoint


def check_is_there(path: str) -> None:
    """Check that a checkpoint is where a path says, or can be downloaded; nothing is read of it.

    Args:
        path (str): Anything that MMEngine's ``load_from`` takes.

    Raises:
        UserError: It is not, or cannot.
    """
    if '://' in path:
        reason = why_not_downloaded(path)
        if reason is not None:
            raise UserError(_NOT_DOWNLOADED.format(path=path, reason=reason))
    elif not osp.exists(path):
        read_checkpoint(path)  # says what is there


def _neighbors(path: str) -> str:
    folder = osp.dirname(osp.abspath(path))
    if not osp.isdir(folder):
        return f': there is no folder {folder}'
    names = [
        name
        for name in listdir(folder)
        if name.endswith(('.pth', '.pt', '.safetensors'))
        or osp.isfile(osp.join(folder, name, 'adapter_config.json'))
    ]
    near = close_names(osp.basename(path), names, most=3, likeness=0.0)
    return f'; in its folder there are {near}' if near else f'; there is no checkpoint in {folder}'
