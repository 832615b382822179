"""Which tensors of a model follow its number of classes, whatever its heads call them.

The model is built once more for one class more, without values; what is longer then follows it.
"""

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from mmengine.config import Config
from torch import Size, nn

from ..config_model import build_again
from ..datasets.checks import OTHER_COUNTS
from ..random_state import get_random_state, set_random_state
from ..strategies.fsdp2.meta import without_values
from .layouts import Layout, find_layout

_KEYPOINT_COUNTS = ('num_keypoints', 'num_joints')


@dataclass(frozen=True)
class ClassTensor:
    """A tensor whose shape follows the number of classes.

    Attributes:
        shape (torch.Size): Its shape in this model.
        layouts (dict[int, Layout]): The order of each axis that does.
        why_not (str): What is not understood of it; empty where all is.
    """

    shape: Size
    layouts: dict[int, Layout]
    why_not: str = ''

    def shape_for(self, count: int) -> Size:
        """Return its shape for another number of classes."""
        return Size(
            self.layouts[axis].size(count) if axis in self.layouts else length
            for axis, length in enumerate(self.shape)
        )


def places_of_count(model: Mapping, kind: str, count: int) -> dict[str, int]:
    """Return where the config of a model says how many classes there are.

    Args:
        model (Mapping): The value of ``model``.
        kind (str): ``'things'``: what ``num_classes`` counts; ``'classes'``: things and stuff
            together; ``'stuff'``; ``'keypoints'``.
        count (int): How many there are. What counts another number is something else.

    Returns:
        dict[str, int]: Values by place, with dots also before list indices, as ``--cfg-options``
        has it. One value where two count together.
    """
    if is_counted_by_words(model):
        return {}
    return {
        f'{path}.{key}': node[key]
        for path, node in _nodes(model, 'model')
        for key in _keys_of_count(path, node, kind, count)
    }


def is_counted_by_words(model: Mapping) -> bool:
    """Return whether the heads of a model take words for classes."""
    return 'language_model' in model


def _keys_of_count(path: str, node: Mapping, kind: str, count: int) -> Sequence[str]:
    if kind == 'keypoints':
        keys = [*_KEYPOINT_COUNTS]
        if path.startswith('model.head') and str(node.get('type')).endswith('Head'):
            keys.append('out_channels')
        return [key for key in keys if node.get(key) == count]
    things, stuff = node.get('num_things_classes'), node.get('num_stuff_classes')
    semantic = path.endswith('.semantic_head')
    if kind == 'stuff':
        return ['num_stuff_classes'] if semantic and stuff == count else []
    if semantic:
        return []
    if kind == 'classes':
        together = type(things) is int and type(stuff) is int and things + stuff == count
        return ['num_things_classes'] if together else []
    return ['num_classes'] if node.get('num_classes') == count else []


def _nodes(node, path: str) -> Iterator[tuple[str, Mapping]]:
    if isinstance(node, Mapping):
        yield path, node
        for key, value in node.items():
            if key not in OTHER_COUNTS or key == 'semantic_head':
                yield from _nodes(value, f'{path}.{key}')
    elif isinstance(node, (list, tuple)):
        for index, item in enumerate(node):
            yield from _nodes(item, f'{path}.{index}')


def with_counts(cfg: Config, places: Mapping[str, int], more: int) -> Config:
    """Return the config of the same model for another number of classes.

    Args:
        cfg (Config): The config; it is not changed.
        places (Mapping[str, int]): The result of :func:`places_of_count`.
        more (int): By how many classes.
    """
    changed = Config(dict(model=copy.deepcopy(cfg.model)))
    if cfg.get('data_preprocessor') is not None:
        changed.data_preprocessor = copy.deepcopy(cfg.data_preprocessor)
    changed.merge_from_dict({place: value + more for place, value in places.items()})
    return changed


def find_class_tensors(
    model: nn.Module, cfg: Config, places: Mapping[str, int], count: int
) -> dict[str, ClassTensor]:
    """Return the tensors of a model that follow its number of classes.

    Args:
        model (nn.Module): The stock model of a config.
        cfg (Config): The config.
        places (Mapping[str, int]): The result of :func:`places_of_count`.
        count (int): The number of classes.

    Returns:
        dict[str, ClassTensor]: By state-dict key.

    Raises:
        Exception: Whatever the constructor of a model raises that does not stand one class more.
    """
    larger = _shapes(with_counts(cfg, places, 1))
    return {
        key: _compare(model, key, tensor.shape, larger[key], count)
        for key, tensor in model.state_dict().items()
        if key in larger and larger[key] != tensor.shape
    }


def _shapes(cfg: Config) -> dict[str, Size]:
    state = get_random_state()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # said of the model itself already
            return {key: t.shape for key, t in _build(cfg).state_dict().items()}
    finally:
        set_random_state(state)


def _build(cfg: Config) -> nn.Module:
    error: Exception | None = None
    for building in (without_values, nullcontext):  # some constructors read values
        try:
            with building():
                return build_again(cfg)
        except Exception as raised:
            error = raised
    assert error is not None  # no build returned
    raise error


def _compare(model: nn.Module, key: str, shape: Size, larger: Size, count: int) -> ClassTensor:
    if len(shape) != len(larger):
        return ClassTensor(shape, {}, 'its dimensions depend on the number of classes')
    layouts = {}
    for axis, (length, longer) in enumerate(zip(shape, larger, strict=True)):
        each = longer - length
        if each == 0:
            continue
        layout = None if each < 0 else find_layout(model, key, each, length - each * count)
        if layout is None:
            return ClassTensor(shape, {}, 'in which order it has the classes is not known')
        layouts[axis] = layout
    return ClassTensor(shape, layouts)
