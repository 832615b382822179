"""Layers whose weights another module reads instead of calling them.

An adapter acts where its layer is called. Swin V2 and BEiT compute with ``self.qkv.weight``, TOOD
with the weight of a convolution inside a ``ConvModule``: an adapter there would do nothing while it
trains, and something else once it is merged.
"""

import ast
import functools
import inspect
import operator
import re
import textwrap
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

from torch import nn

from ..values import is_number

# What is not part of computing an output.
_OTHER = re.compile(r'.*(init|reset|fuse|merge|deploy|reparam|equivalent|load|state_dict|repr).*')
_NO_VALUES = {
    'data_ptr',
    'device',
    'dim',
    'dtype',
    'ndim',
    'numel',
    'requires_grad',
    'shape',
    'size',
    'type',
}
# Functions that look at what a tensor is, not at its values.
_NO_VALUES_OF = {'hasattr', 'id', 'isinstance', 'type'}
_COMPARISONS: dict[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}

_Path = tuple[str, ...]
_Condition = tuple[_Path, type[ast.cmpop], float]


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
        cls: Any = type(reader)
        for (*path, name), conditions in _reads(cls):
            if not all(_may_hold(reader, condition) for condition in conditions):
                continue
            try:
                layer = reader.get_submodule('.'.join(path))
            except AttributeError:
                continue
            far_off = isinstance(layer, nn.Embedding) and len(path) > 1
            if name in layer._parameters and not far_off:
                found[layer] = type(reader).__name__
    return found


@functools.cache
def _reads(reader: type) -> frozenset[tuple[_Path, tuple[_Condition, ...]]]:
    """Return what the methods of a class read as ``self.<path>.weight`` or ``.bias``, and when."""
    methods: dict[str, object] = {}
    for cls in reader.__mro__:
        if cls.__module__.split('.')[0] not in ('torch', 'builtins', __package__.split('.')[0]):
            for name, value in vars(cls).items():
                methods.setdefault(name, value)
    reads = set()
    for name, method in methods.items():
        method = inspect.unwrap(method) if isinstance(method, FunctionType) else None
        if method is None or _OTHER.fullmatch(name):
            continue
        if {'weight', 'bias'} & set(method.__code__.co_names):
            reads |= _reads_in(method)
    return frozenset(reads)


def _reads_in(method: FunctionType) -> set[tuple[_Path, tuple[_Condition, ...]]]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(method)))
    except (OSError, SyntaxError):  # written in no file, or one of several on a line
        return set()
    ignored = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in _NO_VALUES
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], (ast.Is, ast.IsNot)):
            ignored.add(node.left)
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in _NO_VALUES_OF
        ):
            ignored.update(node.args)
    reads = {
        (_path(node), conditions)
        for node, conditions in _walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Load)
        and node.attr in ('weight', 'bias')
        and node not in ignored
    }
    return {read for read in reads if len(read[0]) > 1}


def _walk(node: ast.AST, conditions: tuple = ()) -> Iterator[tuple[ast.AST, tuple]]:
    """Yield all nodes, each with the conditions under which it is reached."""
    yield node, conditions
    branch, inner = [], conditions
    if isinstance(node, ast.If):
        branch, inner = node.body, (*conditions, *_conditions(node.test))
    for child in ast.iter_child_nodes(node):
        yield from _walk(child, inner if child in branch else conditions)


def _conditions(test: ast.expr) -> Iterator[_Condition]:
    """Yield those of a test that compare an attribute with a number, as a config sets it."""
    for part in (
        test.values if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And) else (test,)
    ):
        if (
            isinstance(part, ast.Compare)
            and len(part.ops) == 1
            and type(part.ops[0]) in _COMPARISONS
            and _path(part.left)
            and isinstance(part.comparators[0], ast.Constant)
            and is_number(number := part.comparators[0].value)
        ):
            yield _path(part.left), type(part.ops[0]), number


def _may_hold(reader: nn.Module, condition: _Condition) -> bool:
    # Bloom and older LLaMA read their weights where `pretraining_tp > 1`, which it never is.
    path, comparison, number = condition
    try:
        value = operator.attrgetter('.'.join(path))(reader)
    except AttributeError:
        return True
    return type(value) not in (int, float) or _COMPARISONS[comparison](value, number)


def _path(node: ast.expr) -> _Path:
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    is_own = isinstance(node, ast.Name) and node.id == 'self'
    return tuple(reversed(names)) if is_own else ()
