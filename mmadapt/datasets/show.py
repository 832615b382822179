"""Which training images are looked at, and what is drawn on them."""

import io
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as run_lengths

from ..errors import UserError
from ..files.atomic import write_atomically
from ..files.existing import refuse_existing
from .base_config import distinct_palette
from .coco_export import Export, Split
from .contact_sheet import draw_contact_sheet
from .keypoint_checks import points_of, triples
from .layout import name_on_disk
from .marks import Marks
from .masks import good_parts
from .points import Points
from .pose_config import point_colors
from .training_use import CROWD, IGNORED

COUNT = 24
# A sheet of more can no longer be looked at.
MOST = 60
SUFFIXES = ('.jpg', '.jpeg', '.png')
_PALE = (225, 225, 225)
_MARKS = ((CROWD, 'iscrowd'), (IGNORED, 'ignore'))


def choose_images(
    split: Split, by_image: Mapping[int, list[dict]], count: int = COUNT
) -> list[int]:
    """Choose images that show what there is, the same ones each time.

    Args:
        split (Split): The split.
        by_image (Mapping[int, list[dict]]): Its boxes by image.
        count (int): How many; more where these do not show every class, up to :data:`MOST`.

    Returns:
        list[int]: Ids of images in the order of the file: such that every class is shown, the
        largest and the smallest box, an image without boxes, and others at equal distances.
    """
    classes = {image: {b['category_id'] for b in boxes} for image, boxes in by_image.items()}
    chosen: dict[int, None] = {}
    missing: set[int] = set().union(*classes.values())
    while missing and len(chosen) < MOST:
        best = max(classes, key=lambda image: len(classes[image] & missing))
        chosen[best] = None
        missing -= classes[best]
    sizes = {(b['bbox'][2] * b['bbox'][3]): b['image_id'] for b in split.boxes}
    chosen |= {sizes[extreme(sizes)]: None for extreme in (max, min) if sizes}
    chosen |= dict.fromkeys([image for image in split.images if image not in by_image][:1])
    rest = [image for image in split.images if image not in chosen]
    more = min(max(count - len(chosen), 0), len(rest))
    chosen |= dict.fromkeys(rest[len(rest) * place // more] for place in range(more))
    return [image for image in split.images if image in chosen]


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
    count = len(points.names) if points else 0
    for box in boxes:
        name = split.categories.get(box['category_id'])
        if name not in classes:
            continue
        x, y, w, h = box['bbox']
        marked = [reason for reason, key in _MARKS if box.get(key)]
        labels.append(classes.index(name))
        corners.append((x, y, x + w, y + h))
        texts.append(', '.join([name, *marked]))
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


def write_sheet(
    export: Export, out: Path, title: str, overwrite: bool = False, points: Points | None = None
) -> tuple[int, int]:
    """Write a contact sheet of training images.

    Args:
        export (Export): The export as read.
        out (Path): The file to write, .jpg or .png.
        title (str): What the data set is called.
        overwrite (bool): Whether a file that is there and differs may be replaced.
        points (Points, optional): The points that its objects have. Defaults to None.

    Returns:
        tuple[int, int]: How many images are in it, and how many classes they show.

    Raises:
        UserError: No image can be drawn, or a file is there and differs.
        WriteError: The file cannot be written.
    """
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
    legend = [f'{name} {split.class_counts[name]:,}' for name in export.classes]
    palette = distinct_palette(len(legend))
    if points is not None:
        # Left and right are told by their colors, before which boxes and lines step back.
        palette = [_PALE] * len(legend) + point_colors(points)
        legend += points.names
    sheet = draw_contact_sheet(
        images,
        legend,
        palette,
        f'{title}: {len(images)} of {len(split.images):,} training images',
    )
    stream = io.BytesIO()
    sheet.save(stream, 'PNG' if out.suffix.lower() == '.png' else 'JPEG', quality=90)
    content = stream.getvalue()
    if not out.is_file() or out.read_bytes() != content:
        refuse_existing(overwrite, out)
        write_atomically(out, lambda part: Path(part).write_bytes(content))
    return len(images), len(shown)
