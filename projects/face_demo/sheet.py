"""The contact sheet: validation images with what is there and what was found."""

import contextlib
import io
from pathlib import Path

from mmengine.fileio import load
from pycocotools.coco import COCO

from mmadapt.datasets.contact_sheet import draw_contact_sheet
from mmadapt.datasets.marks import Marks

TRUTH, FOUND = (64, 220, 120), (255, 140, 0)


def draw_sheet(
    annotations: Path,
    predictions: Path,
    out: Path,
    title: str,
    threshold: float = 0.4,
    count: int = 24,
) -> None:
    """Draws the first images of a split with their true and their predicted boxes.

    Args:
        annotations (Path): the COCO file; its images lie beside it.
        predictions (Path): what MMDetection's `tools/test.py --out` wrote.
        out (Path): the JPEG or PNG file to write.
        title (str): what was tested, for the legend.
        threshold (float): predictions of a lower score are not drawn. Defaults to 0.4.
        count (int): how many images. Defaults to 24.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        coco = COCO(annotations)
    images = []
    for prediction in load(predictions)[:count]:
        image_id = prediction['img_id']
        marks = Marks(labels=[], boxes=[], texts=[])
        for annotation in coco.imgToAnns[image_id]:
            x, y, w, h = annotation['bbox']
            add(marks, 0, (x, y, x + w, y + h), '')
        instances = prediction['pred_instances']
        for box, score in zip(
            instances['bboxes'].tolist(), instances['scores'].tolist(), strict=True
        ):
            if score >= threshold:
                add(marks, 1, tuple(box), f'{score:.2f}')
        images.append((annotations.parent / coco.loadImgs(image_id)[0]['file_name'], marks))
    names = ('true', f'found, with its score (from {threshold:g})')
    sheet = draw_contact_sheet(images, names, (TRUTH, FOUND), title, width=1784, row_height=288)
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out, quality=90)


def add(marks: Marks, label: int, box: tuple, text: str) -> None:
    """Adds a box to what is drawn on an image."""
    marks.labels += [label]
    marks.boxes += [box]
    marks.texts += [text]
