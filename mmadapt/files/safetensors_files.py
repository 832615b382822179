"""Checkpoints in safetensors files: one, or several with an index as Hugging Face writes them."""

import json
import os.path as osp

from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import UserError

_FILE, _INDEX = 'model.safetensors', 'model.safetensors.index.json'


def find_safetensors(path: str) -> str | None:
    """Return the safetensors file, or the index of several, that a path means.

    Args:
        path (str): A ``.safetensors`` file, an index, or a folder as ``save_pretrained`` writes it.

    Returns:
        str, optional: The file; None if the path means something else.
    """
    if osp.isdir(path):
        files = (osp.join(path, name) for name in (_INDEX, _FILE))
        return next(filter(osp.isfile, files), None)
    return path if path.endswith(('.safetensors', '.safetensors.index.json')) else None


def read_safetensors(path: str) -> dict:
    """Read a checkpoint, onto the CPU.

    Args:
        path (str): A ``.safetensors`` file, or the index of several.

    Returns:
        dict: ``state_dict``, and in ``meta`` the ``dataset_meta`` that a merged model has.

    Raises:
        FileNotFoundError: There is no such file.
        UserError: It is damaged, or one of those that the index names is missing.
    """
    if not osp.isfile(path):
        raise FileNotFoundError(path)
    if not path.endswith('.json'):
        return _read(path)
    try:
        with open(path, encoding='utf-8') as file:
            places = json.load(file)['weight_map']
        names = sorted(set(places.values()))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(f'{path} is not an index of safetensors files: {error!r}') from None
    state: dict[str, Tensor] = {}
    for name in names:
        part = osp.join(osp.dirname(path), name)
        if not osp.isfile(part):
            raise UserError(f'{path} is incomplete: there is no {part}')
        state.update(_read(part)['state_dict'])
    lacking = sorted(set(places) - set(state))
    if lacking:
        raise UserError(
            f'{path} names {lacking[0]} and {len(lacking) - 1} more tensors that '
            'its files do not hold'
        )
    return dict(state_dict=state, meta={})


def _read(path: str) -> dict:
    try:
        with safe_open(path, framework='pt') as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  not a dict
        meta = (
            dict(dataset_meta=json.loads(metadata['dataset_meta']))
            if metadata.get('dataset_meta')
            else {}
        )
    except (SafetensorError, ValueError) as error:
        raise UserError(f'{path} is damaged or only half of a file: {error}') from None
    return dict(state_dict=state, meta=meta)
