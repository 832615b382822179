"""Which training images are looked at, and what is drawn on them."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
from pycocotools import mask as run_lengths

from ..errors import UserError
from .base_config import distinct_palette
from .coco_export import Export, Split
from .keypoint_checks import points_of, triples
from .layout import name_on_disk
from .marks import Marks
from .masks import good_parts
from .points import Points
from .pose_config import point_colors
from .sheets import COUNT, Sheet, choose, written_names
from .training_use import CROWD, IGNORED

_PALE = (225, 225, 225)
_MARKS = ((CROWD, 'iscrowd'), (IGNORED, 'ignore'))


def choose_images(
    split: Split, by_image: Mapping[int, list[dict]], count: int = COUNT
) -> list[int]:
    """Choose images that show what there is, the same ones each time.

    Args:
        split (Split): The split.
        by_image (Mapping[int, list[dict]]): Its boxes by image.
        count (int): How many; more where these do not show every class, up to
            :data:`~mmadapt.datasets.sheets.MOST`.

    Returns:
        list[int]: Ids of images in the order of the file: such that every class is shown, the
        largest and the smallest box, an image without boxes, and others at equal distances.
    """
    classes = {image: {b['category_id'] for b in boxes} for image, boxes in by_image.items()}
    sizes = {(b['bbox'][2] * b['bbox'][3]): b['image_id'] for b in split.boxes}
    extremes = [sizes[extreme(sizes)] for extreme in (max, min) if sizes]
    empty = [image for image in split.images if image not in by_image][:1]
    return choose(split.images, classes, [*extremes, *empty], count)


def marks_of(
    split: Split,
    image: dict,
    boxes: list[dict],
    classes: tuple[str, ...],
    points: Points | None = None,
) -> Marks:
    """What is drawn on an image: its boxes, and masks or points where there are any.

    Args:
        split (Split): The split.
        image (dict): The image's entry.
        boxes (list[dict]): Its boxes.
        classes (tuple[str, ...]): The classes in the order of their labels.
        points (Points, optional): The points that objects have; their colors come after those of
            the classes. Defaults to None, for masks.

    Returns:
        Marks: What is marked iscrowd or ignore says so beside its name.
    """
    labels, corners, texts, masks, places = [], [], [], [], []
    written = written_names(classes)
    count = len(points.names) if points else 0
    for box in boxes:
        name = split.categories.get(box['category_id'])
        if name not in classes:
            continue
        x, y, w, h = box['bbox']
        marked = [reason for reason, key in _MARKS if box.get(key)]
        labels.append(classes.index(name))
        corners.append((x, y, x + w, y + h))
        texts.append(', '.join([written[classes.index(name)], *marked]))
        if points is None:
            masks.append(_mask(box.get('segmentation'), image))
        else:
            known = points_of(box) == count
            places.append(np.array(triples(box)) if known else np.zeros((count, 3)))
    return Marks(
        labels,
        corners,
        texts,
        masks,
        places,
        points.skeleton if points else (),
        range(len(classes), len(classes) + count),
        caption=image['file_name'],
    )


def _mask(segmentation: Any, image: dict) -> Any:
    """Return the usable polygons of a mask, or its pixels."""
    mask = good_parts(segmentation, image)
    if not isinstance(mask, dict):
        return mask
    if isinstance(mask['counts'], list):
        mask = run_lengths.frPyObjects(mask, image['height'], image['width'])
    return run_lengths.decode(mask).astype(bool)


def box_sheet(export: Export, points: Points | None = None) -> Sheet:
    """Choose training images, with what is annotated in them.

    Args:
        export (Export): The export as read.
        points (Points, optional): The points that its objects have. Defaults to None.

    Returns:
        Sheet: Without images where there are none.

    Raises:
        UserError: No image that is listed is on disk.
    """
    if 'train' not in export.splits or not export.splits['train'].images:
        return Sheet([], 0, 0, ())
    split = export.splits['train']
    by_image = defaultdict(list)
    for box in split.boxes:
        by_image[box['image_id']].append(box)
    images = []
    for image_id in choose_images(split, by_image):
        image = split.images[image_id]
        name = name_on_disk(split.image_dir, image['file_name'])
        if name is not None:
            marks = marks_of(split, image, by_image.get(image_id, []), export.classes, points)
            images.append((split.image_dir / name, marks))
    if not images:
        raise UserError(f'--show: no image that {split.ann_file} lists is on disk')
    shown = {label for _, marks in images for label in marks.labels}
    written = zip(written_names(export.classes), export.classes, strict=True)
    legend = [f'{text} {split.class_counts[name]:,}' for text, name in written]
    palette = distinct_palette(len(legend))
    if points is not None:
        # Left and right are told by their colors, before which boxes and lines step back.
        palette = [_PALE] * len(legend) + point_colors(points)
        legend += points.names
    return Sheet(images, len(split.images), len(shown), export.classes, legend, palette)
