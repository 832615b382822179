"""Weights that parts of a model fetch when they are initialized, though a checkpoint has them all.

A stock detector's backbone names its ImageNet weights, which are downloaded and then overwritten by
``load_from``. On a machine without a network that ends a run that needs nothing from it.
"""

import os.path as osp
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from types import MethodType

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from ..downloads import naming_pretrained
from ..logs import say
from ..runs import checkpoint_to_load, unwrap
from .base_weights import pretrained_files, pretrained_modules
from .reading import read_checkpoint
from .trained_part import KEY


def covered_modules(model: nn.Module, runner) -> list[str]:
    """Return the modules whose pretrained weights a run overwrites with its checkpoint's.

    Args:
        model (nn.Module): The model, before it is adapted; maybe wrapped.
        runner (Runner): A runner that is going to load all of its weights, or what a run of this
            package has trained.

    Returns:
        list[str]: Names of modules that would load a file of their own when they are initialized,
        in the model that is not wrapped.
    """
    model = unwrap(model)
    names = pretrained_modules(model)
    path = checkpoint_to_load(runner) if names else None
    if path is None:
        return []
    checkpoint = read_shapes(path)
    if KEY in checkpoint:
        needed = checkpoint[KEY].get('base', {}).get('pretrained', [])
        return [name for name in names if name not in needed]
    state = checkpoint['state_dict']
    return [
        name
        for name in names
        if all(
            _has(state, f'{name}.{key}'.lstrip('.'), tensor)
            for key, tensor in model.get_submodule(name).state_dict().items()
        )
    ]


@contextmanager
def initializing(model: nn.Module, covered: Collection[str]) -> Iterator[None]:
    """Have a model initialize itself without what is overwritten afterwards.

    Args:
        model (nn.Module): The model, maybe wrapped; its ``init_weights`` is called while this is
            entered.
        covered (Collection[str]): Modules that leave their weights alone.

    Raises:
        UserError: What another module needs cannot be downloaded.
    """
    model = unwrap(model)
    changed = {name: model.get_submodule(name) for name in pretrained_modules(model)}
    try:
        for name, module in changed.items():
            if name in covered:
                files = ', '.join(pretrained_files(module))
                say(
                    f'{name or "the model"}: {files} is not read, the checkpoint that is loaded '
                    'has all of these weights'
                )
                vars(module)['init_weights'] = MethodType(_leave_alone, module)
            else:
                vars(module)['init_weights'] = MethodType(_reader(name), module)
        yield
    finally:
        for module in changed.values():
            vars(module).pop('init_weights', None)


def _leave_alone(module: nn.Module) -> None:
    vars(module)['_is_init'] = True


def _reader(name: str):
    def init_weights(module: BaseModule) -> None:
        with naming_pretrained(name, pretrained_files(module)):
            type(module).init_weights(module)

    return init_weights


def read_shapes(path: str) -> dict:
    """Read a checkpoint, without its values where it can be mapped into memory.

    Args:
        path (str): Anything that MMEngine's ``load_from`` takes.

    Returns:
        dict: What :func:`read_checkpoint` returns.

    Raises:
        UserError: What that raises.
    """
    if osp.isfile(path):
        try:
            checkpoint = torch.load(path, map_location='cpu', mmap=True, weights_only=True)
        except Exception:  # an older format, or none of torch's: read as any other
            checkpoint = None
        if isinstance(checkpoint, Mapping):
            state = checkpoint.get('state_dict', checkpoint)
            return {
                **checkpoint,
                'state_dict': {key.removeprefix('module.'): value for key, value in state.items()},
            }
    return read_checkpoint(path)


def _has(state: Mapping[str, Tensor], key: str, tensor: Tensor) -> bool:
    return key.endswith('num_batches_tracked') or (
        key in state and state[key].shape == tensor.shape
    )
