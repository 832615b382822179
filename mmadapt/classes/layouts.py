"""Where the rows of a class stand in a tensor, for the heads of OpenMMLab's models.

How long an axis is for one class more tells how many entries a class has and how many belong to
none (a background, a box). Their order, it does not tell:

=====================================  ===========================================================
one entry a class, none of no class    the order of the classes, whatever the layer is
dense heads with anchors               anchor by anchor, each with all classes, then the background
YOLOv3                                 anchor by anchor, each with box and objectness, then classes
boxes and masks of a RoI               class by class, then the background
point heads (PointRend)                features, then the coarse prediction of each class
DETR, the stuff of a Panoptic FPN      the classes, then the one that is none
poses by regression, RTMO              keypoint by keypoint, each with all of its numbers
=====================================  ===========================================================

What is not in the table is not understood: nobody guesses an order.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn

# Class of a head: whether it goes through the classes once for every anchor or the like, and where
# the entries of no class stand: beside the classes, before or behind them.
_ORDERS = {
    'mmdet.BaseDenseHead': ('anchors', 'behind'),
    'mmdet.YOLOV3Head': ('anchors', 'before'),
    'mmdet.BBoxHead': ('classes', 'behind'),
    'mmdet.CoarseMaskHead': ('classes', 'behind'),
    'mmdet.MaskPointHead': ('classes', 'before'),
    'mmseg.PointHead': ('classes', 'before'),
    'mmdet.DETRHead': ('classes', 'behind'),
    'mmdet.PanopticFPNHead': ('classes', 'behind'),
    'mmpose.RegressionHead': ('classes', 'behind'),
    'mmpose.RLEHead': ('classes', 'behind'),
    'mmpose.YOLOXPoseHead': ('classes', 'behind'),
}
# Their buffers are numbers of the data set's, for every keypoint.
_OF_THE_DATA = ('mmpose.OKSLoss',)


@dataclass(frozen=True)
class Layout:
    """The order of the entries of an axis.

    Attributes:
        groups (int): How often the classes are gone through: once for every anchor.
        width (int): How many entries a class has each time.
        before (int): How many entries of no class stand before them each time.
        behind (int): How many behind them.
    """

    groups: int = 1
    width: int = 1
    before: int = 0
    behind: int = 0

    def __str__(self) -> str:
        """Return it in words; nothing is said of one row for each class and no more."""
        words = [
            f'{self.groups} times all' if self.groups > 1 else '',
            f'{self.width} each' if self.width > 1 else '',
            f'{self.before} of no class before them' if self.before else '',
            f'{self.behind} of no class behind them' if self.behind else '',
        ]
        return ', '.join(filter(None, words))

    def size(self, count: int) -> int:
        """Return the length of the axis for a number of classes."""
        return self.groups * (self.before + count * self.width + self.behind)

    def entries(self, classes: Sequence[int], count: int) -> list[int]:
        """Return where some classes stand on the axis, and what belongs to no class.

        Args:
            classes (Sequence[int]): Indices of classes.
            count (int): How many classes there are.
        """
        return [*self._entries(classes, count)]

    def _entries(self, classes: Sequence[int], count: int) -> Iterator[int]:
        for group in range(self.groups):
            start = group * self.size(count) // self.groups
            yield from range(start, start + self.before)
            for index in classes:
                first = start + self.before + index * self.width
                yield from range(first, first + self.width)
            end = start + self.size(count) // self.groups
            yield from range(end - self.behind, end)


def find_layout(model: nn.Module, key: str, each: int, rest: int) -> Layout | None:
    """Return the order of the entries of an axis, None where it is not known.

    Args:
        model (nn.Module): A stock model.
        key (str): The state-dict key of the tensor.
        each (int): How many entries a class has.
        rest (int): How many belong to no class.
    """
    if (each, rest) == (1, 0):
        return Layout()
    order = next((_ORDERS[name] for name in _heads_around(model, key) if name in _ORDERS), None)
    if order is None:
        return None
    groups = each if order[0] == 'anchors' else 1
    if rest % groups:
        return None
    return Layout(groups, each // groups, **{order[1]: rest // groups})


def is_of_the_data(model: nn.Module, key: str) -> bool:
    """Return whether a tensor is not learned but comes from the data set's meta information.

    Args:
        model (nn.Module): A stock model.
        key (str): The state-dict key of the tensor.
    """
    place = key.rpartition('.')[0]
    return any(name in _OF_THE_DATA for name in _kinds(model.get_submodule(place)))


def _heads_around(model: nn.Module, key: str) -> Iterator[str]:
    """Yield package and name of the classes of the modules that a tensor is in, inside out."""
    place = key
    while place:
        place = place.rpartition('.')[0]
        yield from _kinds(model.get_submodule(place))


def _kinds(module: nn.Module) -> Iterator[str]:
    for cls in type(module).__mro__:
        yield f'{cls.__module__.partition(".")[0]}.{cls.__name__}'
