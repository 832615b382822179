"""What a detector computes, as a graph of operations: that of an ONNX file, and of a model."""

import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import fx, nn

_CALLS = {
    torch.cat: 'cat',
    torch.sigmoid: 'sigmoid',
    operator.add: 'add',
    operator.mul: 'mul',
    'sigmoid': 'sigmoid',
    'flatten': 'reshape',
    'transpose': 'transpose',
}
# What needs no settings to be compared: what it does to a shape shows in the numbers.
_PLAIN = dict(Sigmoid='sigmoid', Mul='mul', Add='add', Reshape='reshape', Transpose='transpose')


@dataclass(frozen=True, eq=False)
class Node:
    """An operation.

    Args:
        kind (str): Such as ``'conv'``, ``'cat'`` or ``'sigmoid'``; ``'image'`` is the input.
        name (str): Of its output in the file, or of the module that it is.
        inputs (tuple[Node, ...]): What it reads, in its order.
        settings (tuple): What else it computes with: shape of the weight, stride, padding, axis.
        weights (tuple[Tensor, Tensor], optional): Weight and bias of a convolution of a file.
        norm (str): The BatchNorm behind a convolution of a model. Defaults to none, ``''``.
    """

    kind: str
    name: str
    inputs: tuple['Node', ...] = ()
    settings: tuple = ()
    weights: tuple[torch.Tensor, torch.Tensor] | None = None
    norm: str = ''

    @property
    def operation(self) -> tuple:
        """tuple: What two nodes that compute the same have in common."""
        return self.kind, self.settings, len(self.inputs)

    def __str__(self) -> str:
        return ' '.join([self.kind, *map(str, self.settings), f'({self.name})'])


@dataclass(frozen=True)
class Record:
    """An operation as an ONNX file has it.

    Args:
        kind (str): ONNX's ``op_type``.
        inputs (tuple[str, ...]): Names of tensors, constants among them.
        output (str): The name of its tensor.
        attributes (dict): By name.
    """

    kind: str
    inputs: tuple[str, ...]
    output: str
    attributes: dict


def read_onnx(path: Path) -> Node:
    """Read an ONNX file of one image and one output.

    Args:
        path (Path): The file.

    Returns:
        Node: What computes the output.
    """
    import onnx

    graph = onnx.load(path).graph
    records = [
        Record(
            node.op_type,
            tuple(node.input),
            node.output[0],
            {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute},
        )
        for node in graph.node
    ]
    constants = {value.name: onnx.numpy_helper.to_array(value) for value in graph.initializer}
    (image,) = (value.name for value in graph.input if value.name not in constants)
    (output,) = (value.name for value in graph.output)
    return link(records, constants, image, output)


def link(
    records: Iterable[Record], constants: Mapping[str, np.ndarray], image: str, output: str
) -> Node:
    """Link the operations of a file by the tensors between them.

    Args:
        records (Iterable[Record]): Each after those that it reads, as ONNX demands.
        constants (Mapping[str, np.ndarray]): Weights and settings by name.
        image (str): The name of the input.
        output (str): The name of the output.

    Returns:
        Node: What computes the output.
    """
    made = {image: Node('image', image)}
    for record in records:
        inputs = tuple(made[name] for name in record.inputs if name in made)
        values = [constants[name] for name in record.inputs if name in constants]
        made[record.output] = _node(record, inputs, values)
    return made[output]


def _node(record: Record, inputs: tuple[Node, ...], values: list[np.ndarray]) -> Node:
    given = record.attributes
    if record.kind == 'Conv':
        weight, bias = (torch.tensor(value) for value in values)
        settings = (*_window(given, tuple(weight.shape)), *given['dilations'], given['group'])
        return Node('conv', record.output, inputs, settings, (weight, bias))
    if record.kind == 'MaxPool':
        settings = _window(given, tuple(given['kernel_shape']))
        return Node('maxpool', record.output, inputs, settings)
    if record.kind == 'Slice':
        start, _, axis, step = (int(value.item()) for value in values)
        return Node('slice', record.output, inputs, (axis, start, step))
    if record.kind == 'Resize':
        settings = (given['mode'].decode(), *map(float, values[-1][2:]))
        return Node('upsample', record.output, inputs, settings)
    if record.kind == 'Concat':
        return Node('cat', record.output, inputs, (given['axis'],))
    if record.kind in _PLAIN:
        return Node(_PLAIN[record.kind], record.output, inputs)
    raise ValueError(f'{record.output}: no operation of a YOLOX, {record.kind}')


def _window(given: dict, size: tuple[int, ...]) -> tuple:
    top, left, bottom, right = given['pads']
    if (top, left) != (bottom, right):
        raise ValueError(f'padding {given["pads"]} differs from side to side')
    return (size, *given['strides'], top, left)


class _Tracer(fx.Tracer):
    """Sees layers of PyTorch as operations, and through everything else."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.Conv2d | nn.BatchNorm2d | nn.MaxPool2d | nn.Upsample)


def trace(model: nn.Module) -> Node:
    """Return the graph of a model of one argument, a BatchNorm as a part of its convolution.

    Args:
        model (nn.Module): Of convolutions, BatchNorms, pooling, upsampling and what joins them.

    Returns:
        Node: What computes the output.
    """
    made: dict[fx.Node, Node] = {}
    for step in _Tracer().trace(model).nodes:
        inputs = tuple(made[node] for node in step.all_input_nodes)
        if step.op == 'placeholder':
            made[step] = Node('image', step.name)
        elif step.op == 'call_module':
            made[step] = _layer(step.target, model.get_submodule(step.target), inputs)
        elif step.op == 'output':
            return inputs[0]
        elif step.target is operator.getitem:
            made[step] = _slices(step, inputs)
        else:
            kind = _CALLS[step.target]
            settings = (step.kwargs.get('dim', step.args[-1]),) if kind == 'cat' else ()
            made[step] = Node(kind, step.name, inputs, settings)
    raise ValueError('a graph without output')


def _layer(name: str, layer: nn.Module, inputs: tuple[Node, ...]) -> Node:
    if isinstance(layer, nn.BatchNorm2d):
        (conv,) = inputs
        return Node('conv', conv.name, conv.inputs, conv.settings, norm=name)
    if isinstance(layer, nn.Conv2d):
        shape = tuple(layer.weight.shape)
        settings = (shape, *layer.stride, *layer.padding, *layer.dilation, layer.groups)
        return Node('conv', name, inputs, settings)
    if isinstance(layer, nn.MaxPool2d):
        side, stride, padding = layer.kernel_size, layer.stride, layer.padding
        return Node('maxpool', name, inputs, ((side, side), stride, stride, padding, padding))
    factor = float(layer.scale_factor)
    return Node('upsample', name, inputs, (layer.mode, factor, factor))


def _slices(step: fx.Node, inputs: tuple[Node, ...]) -> Node:
    """Return one node an axis, as a file has it."""
    (node,), (_, *slices) = inputs, step.args[1]  # an Ellipsis, rows and columns
    for axis, part in enumerate(slices, 2):
        node = Node('slice', step.name, (node,), (axis, part.start or 0, part.step))
    return node
