"""The tasks as COCO data sets: faces for the base, masks to adapt to, tree crowns beside them."""

import json
import shutil
import xml.etree.ElementTree as ElementTree
import zipfile
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from .weights import fetch

TASKS = ('faces', 'two', 'all', 'trees')
FOREST = 'deepforest==2.1.0'  # MIT; four aerial images with their boxes
_TILE = 400  # pixels
_HELD_OUT = ('OSBS_029', '2019_YELL_2_541000_4977000_image_crop')
_FORESTS = ('2019_YELL_2_528000_4978000_image_crop2', *_HELD_OUT)


def write_split(
    folder: Path, source: Path, images: Iterable[dict], boxes: dict, classes: list[str]
):
    """Write one split: copies of images, and beside them ``annotations_coco.json``.

    Args:
        folder (Path): Of the split; made.
        source (Path): The folder of the images.
        images (Iterable[dict]): COCO's entries of images.
        boxes (dict): Of an image's id, a list of (class name, (x, y, width, height) in pixels).
        classes (list[str]): Names; ids count from 0.
    """
    folder.mkdir(parents=True, exist_ok=True)
    images, annotations = list(images), []
    for image in images:
        if not (folder / image['file_name']).is_file():
            shutil.copyfile(source / image['file_name'], folder / image['file_name'])
        for name, (x, y, w, h) in boxes[image['id']]:
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image['id'],
                    category_id=classes.index(name),
                    bbox=[x, y, w, h],
                    area=w * h,
                    iscrowd=0,
                )
            )
    content = dict(
        images=images,
        annotations=annotations,
        categories=[dict(id=i, name=name) for i, name in enumerate(classes)],
    )
    (folder / 'annotations_coco.json').write_text(json.dumps(content))


def read_split(folder: Path) -> tuple[list[dict], dict, list[str]]:
    """Read one split of an export.

    Args:
        folder (Path): Images, and beside them one annotation file.

    Returns:
        tuple[list[dict], dict, list[str]]: Images, boxes and classes, as `write_split` takes them.
    """
    (path,) = folder.glob('*.json')
    content = json.loads(path.read_text())
    used = {annotation['category_id'] for annotation in content['annotations']}
    names = {c['id']: c['name'] for c in content['categories'] if c['id'] in used}
    boxes = {image['id']: [] for image in content['images']}
    for annotation in content['annotations']:
        boxes[annotation['image_id']].append((names[annotation['category_id']], annotation['bbox']))
    return content['images'], boxes, list(names.values())


def prepare_faces(export: Path, work: Path) -> list[str]:
    """Make three tasks of one export, which has no training image in common.

    ``faces``: two thirds of the training images, every box a 'face'. ``two``: the same images with
    their classes but for the rarest, whose images are all in ``all``: the other third, with all
    classes. The validation images are the same in all of them.

    Args:
        export (Path): A COCO export with train/ and validation/.
        work (Path): Where the tasks go.

    Returns:
        list[str]: All classes.
    """
    images, boxes, classes = read_split(export / 'train')
    counts = {
        name: sum(n == name for found in boxes.values() for n, _ in found) for name in classes
    }
    rare = min(classes, key=counts.get)
    has_rare = [any(name == rare for name, _ in boxes[image['id']]) for image in images]
    order = np.random.default_rng(0).permutation(len(images))
    order = sorted(order, key=lambda i: not has_rare[i])  # stable: those with the rare class first
    third = len(images) // 3
    parts = dict(adapt=[images[i] for i in order[:third]], base=[images[i] for i in order[third:]])
    held_out, held_boxes, _ = read_split(export / 'validation')
    common = [name for name in classes if name != rare]

    def kept(found: dict, names: list[str], rename: str | None = None) -> dict:
        return {
            key: [(rename or name, box) for name, box in value if name in names]
            for key, value in found.items()
        }

    for task, part, names, rename in (
        ('faces', 'base', classes, 'face'),
        ('two', 'base', common, None),
        ('all', 'adapt', classes, None),
    ):
        target = ['face'] if rename else names
        train = kept(boxes, names, rename), parts[part]
        validation = kept(held_boxes, names, rename), held_out
        for split, (found, of) in dict(train=train, validation=validation).items():
            write_split(work / task / split, export / split, of, found, target)
    return classes


def prepare_trees(work: Path) -> None:
    """Cut aerial images into tiles: ``trees``, one class, two of the images held out.

    Args:
        work (Path): Where the wheel and the task go.
    """
    raw = work / 'forest'
    raw.mkdir(parents=True, exist_ok=True)
    splits = dict(train=([], {}), validation=([], {}))
    with zipfile.ZipFile(fetch(FOREST, work)) as wheel:
        for name in _FORESTS:
            image = cv2.imdecode(
                np.frombuffer(wheel.read(f'deepforest/data/{name}.png'), np.uint8), cv2.IMREAD_COLOR
            )
            tree = ElementTree.fromstring(wheel.read(f'deepforest/data/{name}.xml'))
            crowns = np.array(
                [
                    [float(box.find(key).text) for key in ('xmin', 'ymin', 'xmax', 'ymax')]
                    for box in tree.iter('bndbox')
                ]
            )
            images, boxes = splits['validation' if name in _HELD_OUT else 'train']
            cut(name, image, crowns, raw, images, boxes)
    for split, (images, boxes) in splits.items():
        write_split(work / 'trees' / split, raw, images, boxes, ['tree'])


def cut(
    name: str, image: np.ndarray, crowns: np.ndarray, folder: Path, images: list, boxes: dict
) -> None:
    """Cut one image into tiles; a box goes to the tile of its center, as far as it is in it.

    Args:
        name (str): What the tiles' names begin with.
        image (np.ndarray): (height, width, 3), uint8.
        crowns (np.ndarray): (n, 4), float: corners x1, y1, x2, y2 in pixels.
        folder (Path): Where the tiles go.
        images (list): Gets their entries.
        boxes (dict): Gets their boxes.
    """
    height, width = image.shape[:2]
    centers = (crowns[:, :2] + crowns[:, 2:]) / 2
    for top in range(0, height, _TILE):
        for left in range(0, width, _TILE):
            tile = image[top : top + _TILE, left : left + _TILE]
            h, w = tile.shape[:2]
            inside = ((centers >= (left, top)) & (centers < (left + w, top + h))).all(1)
            if min(h, w) < _TILE // 2 or not inside.any():
                continue
            corners = crowns[inside] - (left, top, left, top)
            corners = corners.clip(0, (w, h, w, h))
            found = np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]])
            entry = dict(id=len(images), file_name=f'{name}_{top}_{left}.jpg', height=h, width=w)
            if not cv2.imwrite(str(folder / entry['file_name']), tile):
                raise OSError(f'{folder / entry["file_name"]} could not be written')
            images.append(entry)
            boxes[entry['id']] = [('tree', box) for box in found.tolist()]
