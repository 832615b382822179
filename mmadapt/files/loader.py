"""What MMEngine's loader reads where this package is imported, and what it refuses.

Its schemes are its extension point. Local paths may also be sharded checkpoints and safetensors
files; what comes by any scheme and holds only what was trained is guarded, and none of it is read
by running code.
"""

import functools
import json
import os
import os.path as osp
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import load_from_local as load_file

from ..errors import UserError
from .safetensors_files import find_safetensors, read_safetensors
from .sharded import is_sharded, read_sharded
from .trained_part import KEY, guard, known

_ADAPTER = 'adapter_config.json'
# Of torch: the first rules whatever a caller of torch.load says, and by the second a user allows
# code where a caller says nothing.
_DATA_ALONE, _CODE = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD', 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'
_YES = ('1', 'y', 'yes', 'true')


def is_checkpoint(path: str) -> bool:
    """Return whether there is a file, or a folder that can be loaded as one."""
    return (
        osp.isfile(path)
        or is_sharded(path)
        or (osp.isdir(path) and find_safetensors(path) is not None)
    )


def is_adapter(path: str) -> bool:
    """Return whether a path means an adapter folder."""
    return osp.isfile(osp.join(path, _ADAPTER))


def refuse_adapter(path: str, what: str = 'load_from') -> None:
    """Refuse an adapter folder, or the file with its tensors, in the place of a checkpoint.

    Args:
        path (str): A path.
        what (str): What takes the checkpoint, for the message. Defaults to ``'load_from'``.

    Raises:
        UserError: It is one.
    """
    folder = osp.dirname(path) if osp.basename(path) == 'adapter_model.safetensors' else path
    if not is_adapter(folder):
        return
    try:
        with open(osp.join(folder, _ADAPTER), encoding='utf-8') as file:
            base = json.load(file)[KEY]['base']['load_from']
    except (ValueError, KeyError, TypeError):
        base = None
    raise UserError(
        f'{path} is an adapter and holds no base: {what} takes the checkpoint of its '
        f'base{f", {base}," if base else ""} and --cfg-options peft.adapter={folder} '
        'adds the adapter'
    )


def load_from_local(filename: str, map_location=None):
    """Read a checkpoint file as MMEngine does, safetensors, or a sharded checkpoint.

    Args:
        filename (str): A file or a folder.
        map_location (Any): What ``torch.load`` takes.

    Returns:
        dict: The checkpoint.

    Raises:
        UserError: It is an adapter, or damaged.
    """
    path = osp.expanduser(filename)
    refuse_adapter(path)
    if is_sharded(path):
        return read_sharded(path)
    safetensors = find_safetensors(path)
    return (
        load_file(filename, map_location) if safetensors is None else read_safetensors(safetensors)
    )


@contextmanager
def _data_alone() -> Iterator[None]:
    """Have torch.load refuse, while it is entered, what could run code.

    Addresses are read with ``weights_only=False``, torch's default in the function that downloads
    them; and onedl-mmengine reads with it whatever cannot be read otherwise.
    """
    if os.environ.get(_CODE) in _YES:  # the user's own wish
        yield
        return
    before = os.environ.get(_DATA_ALONE)
    os.environ[_DATA_ALONE] = '1'
    try:
        yield
    finally:
        if before is None:
            del os.environ[_DATA_ALONE]
        else:
            os.environ[_DATA_ALONE] = before


def _guarded(load):
    @functools.wraps(load)
    def load_guarded(filename, *args, **kwargs):
        with known(), _data_alone():
            checkpoint = load(filename, *args, **kwargs)
        return guard(checkpoint, filename)

    return load_guarded


def register() -> None:
    """Register these readers; what is registered already stays as it is."""
    for prefix, load in [*CheckpointLoader._schemes.items()]:
        if not hasattr(load, '__wrapped__'):
            load = load_from_local if prefix == '' else load
            CheckpointLoader.register_scheme(prefix, _guarded(load), force=True)
