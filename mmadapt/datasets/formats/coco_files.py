"""COCO files of what was labeled in another format, a file a split."""

import hashlib
import json
from functools import partial
from pathlib import Path

from ...files.atomic import write_atomically
from ...files.existing import refuse_existing
from ..coco_fix import refuse_read_only
from .labeled import LabeledFolder, LabeledImage

# The folder of the files, in the data set's own: beside labels that are read anew the next time.
PLACE = 'mmadapt'


def class_order(labeled: LabeledFolder) -> tuple[str, ...]:
    """The classes in the order of their labels: the format's own, or else sorted."""
    if labeled.classes is not None:
        return labeled.classes
    names = {o.label for images in labeled.splits.values() for i in images for o in i.objects}
    return tuple(sorted(names))


def coco_content(
    images: list[LabeledImage], classes: tuple[str, ...], folder: Path, description: str
) -> dict:
    """The content of a COCO file.

    Args:
        images (list[LabeledImage]): The images of a split, also those without objects.
        classes (tuple[str, ...]): The classes in the order of their labels.
        folder (Path): The folder to which the names of the images are relative.
        description (str): What the file says of itself.

    Returns:
        dict: Images, annotations and categories, numbered from 1: evaluation takes an annotation 0
        for none. The area of an object is that of its polygons, as in COCO.
    """
    ids = {name: number for number, name in enumerate(classes, start=1)}
    annotations: list[dict] = []
    for number, image in enumerate(images, start=1):
        for each in image.objects:
            x1, y1, x2, y2 = each.box
            area = sum(map(_area, each.polygons)) or (x2 - x1) * (y2 - y1)
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=number,
                    category_id=ids[each.label],
                    bbox=_rounded([x1, y1, x2 - x1, y2 - y1]),
                    area=round(area, 3),
                    iscrowd=int(each.crowd),
                    segmentation=[_rounded(polygon) for polygon in each.polygons],
                )
            )
    return dict(
        info=dict(description=description),
        images=[
            dict(
                id=number,
                file_name=image.path.relative_to(folder).as_posix(),
                width=image.size[0],
                height=image.size[1],
            )
            for number, image in enumerate(images, start=1)
        ],
        annotations=annotations,
        categories=[dict(id=number, name=name) for name, number in ids.items()],
    )


def _rounded(values: list[float]) -> list[float]:
    """Return pixels to the thousandth, which a share of 0.1 is not of every width."""
    return [round(value, 3) for value in values]


def _area(polygon: list[float]) -> float:
    """Return the area of a polygon: Gauss's formula."""
    xs, ys = polygon[::2], polygon[1::2]
    pairs = zip(xs, ys, xs[1:] + xs[:1], ys[1:] + ys[:1], strict=True)
    return abs(sum(x * v - u * y for x, y, u, v in pairs)) / 2


def shard(
    images: list[LabeledImage], fraction: float, seed: int, folder: Path
) -> tuple[list[LabeledImage], list[LabeledImage]]:
    """Shard images into training and validation, the same way each time.

    A digest of an image's name decides, so that it stays on its side when others come or go, and
    the augmented versions that Roboflow made of one image, ``NAME.rf.HASH.jpg``, stay together.

    Args:
        images (list[LabeledImage]): The images.
        fraction (float): Which share of them, about, is for validation.
        seed (int): Another number makes another choice.
        folder (Path): The folder to which their names are relative.

    Returns:
        tuple[list[LabeledImage], list[LabeledImage]]: Those for training and for validation.
    """
    train: list[LabeledImage] = []
    val: list[LabeledImage] = []
    for image in images:
        name = image.path.relative_to(folder).with_suffix('').as_posix().split('.rf.')[0]
        digest = hashlib.sha256(f'{seed} {name}'.encode()).digest()
        is_val = int.from_bytes(digest[:8], 'big') < fraction * 2**64
        (val if is_val else train).append(image)
    return train, val


def write_coco(
    labeled: LabeledFolder, classes: tuple[str, ...], folder: Path, overwrite: bool
) -> dict[str, Path]:
    """Write a COCO file for each split.

    Args:
        labeled (LabeledFolder): What was labeled.
        classes (tuple[str, ...]): The classes in the order of their labels.
        folder (Path): The data set folder.
        overwrite (bool): Whether a file that is there and differs may be replaced.

    Returns:
        dict[str, Path]: The file of each split.

    Raises:
        UserError: A file is there and differs; then nothing is written.
        WriteError: A file cannot be written, or its folder is marked read-only.
    """
    described = f'{labeled.format} labels as mmadapt dataset has read them'
    texts = {
        folder / PLACE / f'{split}.json': json.dumps(
            coco_content(images, classes, folder, described)
        )
        for split, images in labeled.splits.items()
    }
    for path, text in texts.items():
        refuse_read_only(path)
        refuse_existing(overwrite, path, text=text)
    for path, text in texts.items():
        write_atomically(path, partial(_dump, text))
    return {split: folder / PLACE / f'{split}.json' for split in labeled.splits}


def _dump(text: str, path: str) -> None:
    Path(path).write_text(text, encoding='utf-8')
