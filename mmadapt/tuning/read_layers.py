"""Layers whose weights another module reads instead of calling them.

An adapter acts where its layer is called. Swin V2 and BEiT compute with ``self.qkv.weight``, TOOD
with the weight of a convolution inside a ``ConvModule``: an adapter there would do nothing while it
trains, and something else once it is merged.
"""

import ast
import functools
import inspect
import re
import textwrap
from types import FunctionType

from torch import nn

# What is not part of computing an output.
_OTHER = re.compile(r'.*(init|reset|fuse|merge|deploy|reparam|equivalent|load|state_dict|repr).*')
_NO_VALUES = {'data_ptr', 'device', 'dim', 'dtype', 'ndim', 'numel', 'requires_grad', 'shape',
              'size', 'type'}


def layers_read(model: nn.Module) -> dict[nn.Module, str]:
    """Return the layers whose parameters another module of a model reads by their names.

    Found in the source of the methods, as far as that is there. An embedding counts only where its
    owner reads it: it may be called there and be read farther away too, as DINO does to have it
    take part in every step.

    Args:
        model (nn.Module): The model.

    Returns:
        dict[nn.Module, str]: The class of the module that reads, by layer.
    """
    found = {}
    for reader in model.modules():
        for *path, name in _paths(type(reader)):
            try:
                layer = reader.get_submodule('.'.join(path))
            except AttributeError:
                continue
            far_off = isinstance(layer, nn.Embedding) and len(path) > 1
            if name in layer._parameters and not far_off:
                found[layer] = type(reader).__name__
    return found


@functools.cache
def _paths(reader: type) -> frozenset[tuple[str, ...]]:
    """Return what the methods of a class read as ``self.<path>.weight`` or ``.bias``."""
    methods = {}
    for cls in reader.__mro__:
        if cls.__module__.split('.')[0] not in ('torch', 'builtins', __package__.split('.')[0]):
            for name, value in vars(cls).items():
                methods.setdefault(name, value)
    paths = set()
    for name, method in methods.items():
        method = inspect.unwrap(method) if isinstance(method, FunctionType) else None
        if method is None or _OTHER.fullmatch(name):
            continue
        if {'weight', 'bias'} & set(method.__code__.co_names):
            paths |= _paths_in(method)
    return frozenset(paths)


def _paths_in(method: FunctionType) -> set[tuple[str, ...]]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(method)))
    except (OSError, SyntaxError):  # written in no file, or one of several on a line
        return set()
    ignored = {node.value for node in ast.walk(tree)
               if isinstance(node, ast.Attribute) and node.attr in _NO_VALUES}
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], (ast.Is, ast.IsNot)):
            ignored.add(node.left)
    paths = {_path(node) for node in ast.walk(tree)
             if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
             and node.attr in ('weight', 'bias') and node not in ignored}
    return {path for path in paths if len(path) > 1}


def _path(node: ast.expr) -> tuple[str, ...]:
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    is_own = isinstance(node, ast.Name) and node.id == 'self'
    return tuple(reversed(names)) if is_own else ()
