"""How large the images are that a pipeline makes, as far as its steps say."""

import math
from collections.abc import Sequence

from ..type_names import type_name

# Steps that leave an image's size alone, or make it smaller.
_NO_LARGER = (
    'LoadImageFromFile',
    'LoadImageFromNDArray',
    'LoadAnnotations',
    'RandomFlip',
    'PackDetInputs',
    'YOLOXHSVRandomAug',
    'PhotoMetricDistortion',
    'FilterAnnotations',
    'RandomCrop',
    'Normalize',
    'CutOut',
)


def largest_image(pipeline: Sequence) -> tuple[int, int] | None:
    """Return a height and width that no image of a pipeline exceeds.

    Turned by 90 degrees it may be: of one whose sides' ratio is kept the longer side may be either.

    Args:
        pipeline (list[dict]): Its steps.

    Returns:
        tuple[int, int], optional: None where the steps do not say, or are not known.
    """
    size: tuple[int, int] | None = None
    for step in pipeline:
        kind = type_name(step.get('type'))
        if kind in ('Resize', 'RandomChoiceResize', 'FixScaleResize'):
            scales = step.get('scales') or [step.get('scale')]
            if step.get('scale_factor') is not None or any(
                not isinstance(scale, (tuple, list)) for scale in scales
            ):
                return None
            scales = [(max(s), min(s)) for s in scales]
            size = max(s[1] for s in scales), max(s[0] for s in scales)
        elif kind == 'RandomChoice':
            branches = step.get('transforms', [])
            ends = [end for branch in branches if (end := _after(size, branch)) is not None]
            if not ends or len(ends) < len(branches):
                return None
            size = max(end[0] for end in ends), max(end[1] for end in ends)
        elif kind == 'Pad':
            if step.get('size') is not None:
                # Which way an image is turned is not known.
                side = max(step['size'])
                size = (max(side, size[0]), max(side, size[1])) if size else None
            elif size and step.get('size_divisor'):
                divisor = step['size_divisor']
                size = _up(size[0], divisor), _up(size[1], divisor)
        elif kind not in _NO_LARGER:
            return None
    return size


def _after(size: tuple[int, int] | None, branch: Sequence) -> tuple[int, int] | None:
    before = [] if size is None else [dict(type='Resize', scale=size)]
    return largest_image([*before, *branch])


def tokens_of(size: tuple[int, int], strides: Sequence[int], divisor: int = 1) -> int:
    """Return how many positions the feature maps of an image have together.

    Args:
        size (tuple[int, int]): Height and width.
        strides (list[int]): Of the maps.
        divisor (int): What the height and width of a batch are padded to a multiple of.
    """
    height, width = (_up(side, divisor) for side in size)
    return sum(math.ceil(height / stride) * math.ceil(width / stride) for stride in strides)


def _up(side: int, divisor: int) -> int:
    return math.ceil(side / divisor) * divisor
