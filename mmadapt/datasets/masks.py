"""Which masks of a COCO file MMDetection trains on, and pycocotools evaluates.

What they do with the others (`LoadAnnotations._process_masks` of mmdet, ``frPyObjects`` of
pycocotools): an annotation without any stops training with ``KeyError: 'mask'``, one with a polygon
of two points is silently ignored in training and stops the evaluation of masks, run lengths of a
swapped size give other masks without a word.
"""

import math

from pycocotools import mask as run_lengths

from ..values import is_number

NO_MASK, NO_AREA = 'no mask', 'no area in the image'
SHORT = 'a polygon of fewer than three points'
ODD = 'a polygon with an odd number of coordinates'
FLAT = 'a polygon that is not in a list of polygons'
NOT_NUMBERS = 'coordinates that are not finite numbers'
NO_POLYGON = 'something that is neither a list of polygons nor run lengths'
OTHER_SIZE = 'run lengths of another size than the image'
BROKEN = 'run lengths that cannot be decoded'


def polygon_fault(polygon, image: dict, look_closely: bool = True) -> str | None:
    """What makes one polygon unusable.

    Args:
        polygon: An element of ``segmentation``: x, y, x, y, ... in pixels.
        image (dict): The image's entry, with ``width`` and ``height``.
        look_closely (bool): Whether to look at the coordinates too, not only at their number.

    Returns:
        str | None: The fault; None for a usable polygon.
    """
    if not isinstance(polygon, list):
        return FLAT if is_number(polygon) else NO_POLYGON
    if polygon and not is_number(polygon[0]):
        return NOT_NUMBERS
    if len(polygon) < 6:
        return SHORT
    if len(polygon) % 2:
        return ODD
    if not look_closely:
        return None
    if not all(is_number(value) and math.isfinite(value) for value in polygon):
        return NOT_NUMBERS
    xs, ys = polygon[::2], polygon[1::2]
    if min(max(xs), image['width']) <= max(min(xs), 0) or (
        min(max(ys), image['height']) <= max(min(ys), 0)
    ):
        return NO_AREA
    pairs = zip(xs, ys, xs[1:] + xs[:1], ys[1:] + ys[:1], strict=True)
    return None if sum(x * v - u * y for x, y, u, v in pairs) else NO_AREA


def _run_length_fault(mask: dict, image: dict, look_closely: bool) -> str | None:
    size, counts = mask.get('size'), mask.get('counts')
    if not isinstance(counts, (list, str)) or not isinstance(size, list):
        return NO_POLYGON
    height, width = image['height'], image['width']
    if size != [height, width]:
        return OTHER_SIZE
    if isinstance(counts, list):
        if not all(map(is_number, counts)) or sum(counts) != height * width:
            return BROKEN
        return None if sum(counts[1::2]) else NO_AREA
    if not look_closely:
        return None
    try:
        return None if run_lengths.decode(mask).any() else NO_AREA
    except (ValueError, TypeError):
        return BROKEN


def mask_fault(mask, image: dict, look_closely: bool = True) -> str | None:
    """What is wrong with an annotation's mask.

    Args:
        mask: What it has under ``segmentation``, None where it has no such key.
        image (dict): The image's entry, with ``width`` and ``height``.
        look_closely (bool): Whether to look at the coordinates too, not only at their number.

    Returns:
        str | None: The first fault, of any of its parts; None for a mask that can be trained on and
        evaluated as it is.
    """
    if not mask:
        return NO_MASK
    if isinstance(mask, dict):
        return _run_length_fault(mask, image, look_closely)
    if not isinstance(mask, list):
        return NO_POLYGON
    faults = (polygon_fault(part, image, look_closely) for part in mask)
    return next((fault for fault in faults if fault), None)


def good_parts(mask, image: dict) -> list | dict | None:
    """A mask without the parts that cannot be used.

    Args:
        mask: What an annotation has under ``segmentation``, None where it has no such key.
        image (dict): The image's entry, with ``width`` and ``height``.

    Returns:
        list | dict | None: The usable polygons, or the run lengths; None where nothing is usable.
    """
    if isinstance(mask, list):
        # One polygon that is not in a list is a polygon all the same.
        parts = [mask] if mask and all(map(is_number, mask)) else mask
        return [part for part in parts if not polygon_fault(part, image)] or None
    return None if mask_fault(mask, image) else mask
