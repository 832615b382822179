"""Tiny data sets in COCO format, for tests of what is read, checked and mended."""

import json
from pathlib import Path

from PIL import Image

SIDE = (64, 48)
SQUARE = [[4, 4, 24, 4, 24, 24, 4, 24]]  # the polygon of the box [4, 4, 20, 20]
RUNS = dict(size=[48, 64], counts=[0, 48 * 32, 48 * 32])  # the left half


def box(number: int, image: int = 1, category: int = 1, **changes) -> dict:
    """Return an annotation of one box; a change to None takes the key away."""
    ann = dict(
        id=number, image_id=image, category_id=category, bbox=[4, 4, 20, 20], area=400, iscrowd=0
    )
    ann.update(changes)
    return {key: value for key, value in ann.items() if value is not None}


def coco(annotations: list, images: int = 2, classes: tuple = ('cat', 'dog')) -> dict:
    """Return the content of a file whose images are 1.png, 2.png, ..."""
    return dict(
        images=[
            dict(id=i, file_name=f'{i}.png', width=SIDE[0], height=SIDE[1])
            for i in range(1, images + 1)
        ],
        annotations=annotations,
        categories=[dict(id=i, name=name) for i, name in enumerate(classes, start=1)],
    )


def write_split(folder: Path, content: dict, seed: int = 0) -> Path:
    """Write a split's images and its annotation file; return the file."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(content['images']):
        name = image['file_name'].replace('\\', '/')
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', SIDE, (seed, 9 * index % 256, 60)).save(folder / name)
    path = folder / 'annotations_coco.json'
    path.write_text(json.dumps(content), encoding='utf-8')
    return path


def write_export(
    folder: Path,
    train: list,
    val: list | None = None,
    images: int = 2,
    classes: tuple = ('cat', 'dog'),
) -> Path:
    """Write an export of two splits; the second has one box of each class by default."""
    val = val or [box(i, category=i) for i in range(1, len(classes) + 1)]
    write_split(folder / 'train', coco(train, images, classes), seed=9)
    write_split(folder / 'validation', coco(val, images, classes), seed=99)
    return folder
