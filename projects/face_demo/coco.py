"""Writes composed scenes as a COCO data set: `<root>/<split>/annotations_coco.json`, images."""

import hashlib
import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import cv2

from .scenes import Scene
from .sources import SPLITS

ANNOTATIONS = 'annotations_coco.json'
_RECORD = 'record.json'
_LICENSE = dict(
    id=1,
    name='Images bundled with scikit-image, under the terms in its data/README and docstrings',
    url='https://scikit-image.org/docs/stable/api/skimage.data.html',
)


def write_split(
    folder: Path, scenes: Iterable[tuple[Scene, 'cv2.Mat']], categories: list[str], description: str
) -> None:
    """Writes one split: its JPEG files and, beside them, their annotations.

    Args:
        folder (Path): folder of the split; created.
        scenes (Iterable): pairs of a scene and its finished BGR image.
        categories (list[str]): names; their ids count from 1 in this order.
        description (str): what the data set is, for `info`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for image_id, (scene, image) in enumerate(scenes, start=1):
        name = f'{image_id:04d}.jpg'
        if not cv2.imwrite(str(folder / name), image, [cv2.IMWRITE_JPEG_QUALITY, 92]):
            raise OSError(f'{folder / name} could not be written')
        height, width = image.shape[:2]
        images.append(
            dict(id=image_id, file_name=name, height=height, width=width, license=_LICENSE['id'])
        )
        for patch, (x1, y1, x2, y2) in zip(scene.patches, scene.boxes, strict=True):
            if patch.category is None:
                continue
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image_id,
                    category_id=categories.index(patch.category) + 1,
                    bbox=[x1, y1, x2 - x1, y2 - y1],
                    area=(x2 - x1) * (y2 - y1),
                    iscrowd=0,
                    crop=patch.crop,
                )
            )
    content = dict(
        info=dict(description=description, version='1.0'),
        licenses=[_LICENSE],
        images=images,
        annotations=annotations,
        categories=[
            dict(id=i, name=name, supercategory='none')
            for i, name in enumerate(categories, start=1)
        ],
    )
    (folder / ANNOTATIONS).write_text(json.dumps(content))


def digest(root: Path) -> str:
    """SHA-256 over the names and bytes of a data set's files."""
    total = hashlib.sha256()
    for path in sorted(root.glob('*/*')):
        total.update(path.relative_to(root).as_posix().encode())
        total.update(path.read_bytes())
    return total.hexdigest()


def is_complete(root: Path, recipe: dict) -> bool:
    """Whether a folder holds, unharmed, what this recipe made.

    Args:
        root (Path): folder of the data set.
        recipe (dict): version, seed and sizes that it was asked for with.

    Returns:
        bool: False where nothing or something else is there, or a file was changed.
    """
    record = root / _RECORD
    if not record.is_file():
        return False
    try:
        content = json.loads(record.read_text())
    except json.JSONDecodeError:
        return False
    return content == dict(recipe=recipe, sha256=digest(root))


def write_record(root: Path, recipe: dict) -> None:
    """Writes, last of all, the record that `is_complete` reads."""
    (root / _RECORD).write_text(json.dumps(dict(recipe=recipe, sha256=digest(root))))


def prepare(root: Path, recipe: dict, scenes, categories: list, description: str) -> bool:
    """Makes a data set unless it is there already.

    Args:
        root (Path): where; emptied first when it holds something incomplete or of another recipe.
        recipe (dict): version, seed and the number of images of each split.
        scenes (callable): split, number of images and seed -> pairs of a scene and its image.
        categories (list[str]): the names of the categories.
        description (str): what the annotation files say of themselves.

    Returns:
        bool: whether it was made now.
    """
    if is_complete(root, recipe):
        return False
    if root.exists():
        shutil.rmtree(root)
    for split in SPLITS:
        write_split(
            root / split, scenes(split, recipe[split], recipe['seed']), categories, description
        )
    write_record(root, recipe)
    return True
