"""How large the images are that a config trains on, as its pipeline says; nothing is loaded."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..type_names import type_name

Size = tuple[int, int]


def image_size(cfg: Mapping) -> Size | None:
    """Return the largest size of a batch that a config's pipeline and data preprocessor can make.

    Of random sizes it is the largest, of images that keep their ratio a wide one that fills the
    scale. Padding to ``pad_size_divisor`` and ``batch_augments`` are in it. Transforms of other
    packages count as if they left the size as it is.

    Args:
        cfg (dict or Config): A whole config.

    Returns:
        tuple[int, int], optional: Height and width in pixels; None where nothing says them.
    """
    sizes = [_of_dataset((cfg.get('train_dataloader') or {}).get('dataset'))]
    for hook in cfg.get('custom_hooks') or []:
        if isinstance(hook, Mapping) and hook.get('switch_pipeline'):
            sizes.append(_after(hook['switch_pipeline'], None))
    size = _largest(sizes)
    preprocessor = (cfg.get('model') or {}).get('data_preprocessor') or {}
    if size is not None:
        size = padded(size, preprocessor)
    for augment in preprocessor.get('batch_augments') or []:
        size = _batched(augment, size)
    return size


def padded(size: Size, preprocessor: Mapping | None) -> Size:
    """Return a size as a data preprocessor pads it: to multiples of ``pad_size_divisor``.

    Args:
        size (tuple[int, int]): Height and width.
        preprocessor (dict, optional): The config of the data preprocessor.
    """
    return _up(size, (preprocessor or {}).get('pad_size_divisor', 1))


def _of_dataset(dataset) -> Size | None:
    """Return what a data set, maybe around others, makes."""
    if not isinstance(dataset, Mapping):
        return None
    inner = [dataset.get('dataset'), *(dataset.get('datasets') or [])]
    return _after(dataset.get('pipeline') or [], _largest(map(_of_dataset, inner)))


def _after(pipeline: Iterable, size: Size | None) -> Size | None:
    """Return the size of an image behind some transforms."""
    for transform in pipeline:
        if isinstance(transform, (list, tuple)):  # one of TransformBroadcaster's
            size = _after(transform, size)
        elif isinstance(transform, Mapping):
            size = _transformed(type_name(transform.get('type')), transform, size)
    return size


def _transformed(name: str, t: Mapping, size: Size | None) -> Size | None:
    if name in ('RandomChoice', 'OneOf'):
        return _largest(
            _after(branch if isinstance(branch, (list, tuple)) else [branch], size)
            for branch in t['transforms']
        )
    if isinstance(t.get('transforms'), Sequence) and name.endswith('Broadcaster'):
        return _after(t['transforms'], size)
    if name in ('Resize', 'FixScaleResize', 'FixShapeResize') and 'width' not in t:
        return _resized(t.get('scale'), t.get('keep_ratio', False)) or size
    if name == 'FixShapeResize':
        return t['height'], t['width']
    if name == 'RandomChoiceResize':
        return _largest(_resized(scale, t.get('keep_ratio', False)) for scale in t['scales'])
    if name == 'RandomResize':
        return _resized(_longest(t), t.get('keep_ratio', False))
    if name in ('Mosaic', 'CachedMosaic'):
        width, height = t.get('img_scale', (640, 640))
        return 2 * height, 2 * width
    if name == 'RandomCenterCropPad' and t.get('crop_size'):
        return tuple(t['crop_size'])
    if name == 'Pad' and t.get('size'):
        return t['size'][1], t['size'][0]
    return size and _of_known(name, t, size)


def _of_known(name: str, t: Mapping, size: Size) -> Size:
    """Return what a transform makes of an image whose size is known."""
    if name == 'RandomCrop' and 'relative' not in t.get('crop_type', 'absolute'):
        width, height = t['crop_size']
        if t.get('crop_type') == 'absolute_range':
            width = height  # the most of a range
        return min(size[0], height), min(size[1], width)
    if name == 'RandomAffine':
        width, height = t.get('border', (0, 0))
        return size[0] + 2 * height, size[1] + 2 * width
    if name == 'Expand':
        most = max(t.get('ratio_range', (1, 4)))
        return math.ceil(size[0] * most), math.ceil(size[1] * most)
    if name == 'Pad':
        side = max(size)
        return _up((side, side) if t.get('pad_to_square') else size, t.get('size_divisor') or 1)
    return size


def _batched(augment: Mapping, size: Size | None) -> Size | None:
    """Return what a data preprocessor makes of a whole batch."""
    name = type_name(augment.get('type'))
    if name == 'BatchFixedSizePad':
        height, width = augment['size']
        return (height, width) if size is None else (max(size[0], height), max(size[1], width))
    if name == 'BatchResize':
        scaled = _resized(augment['scale'], True)
        return None if scaled is None else _up(scaled, augment.get('pad_size_divisor', 1))
    if name == 'BatchSyncRandomResize' and size is not None:
        divisor = augment.get('size_divisor', 32)
        most = round(max(augment['random_size_range']) / divisor)
        other = divisor * most, divisor * int(most * size[1] / size[0])
        return _largest([size, other])
    return size


def _resized(scale, keep_ratio: bool) -> Size | None:
    """Return what is resized to a scale, ``(width, height)`` or any order where it keeps ratios."""
    if scale is None:
        return None
    sides: Any = (scale, scale) if isinstance(scale, (int, float)) else scale
    width, height = sides
    return (min(width, height), max(width, height)) if keep_ratio else (height, width)


def _longest(t: Mapping) -> Size:
    """Return the largest scale that a RandomResize draws."""
    scale = t['scale']
    if not isinstance(scale[0], (int, float)):
        return max(map(max, scale)), max(map(min, scale))
    most = max(t.get('ratio_range') or (1,))
    return int(scale[0] * most), int(scale[1] * most)


def _largest(sizes: Iterable[Size | None]) -> Size | None:
    return max((size for size in sizes if size), key=math.prod, default=None)


def _up(size: Size, divisor: int) -> Size:
    return -(-size[0] // divisor) * divisor, -(-size[1] // divisor) * divisor
