"""Predictions as files: COCO's results, label maps, and the images that they are of."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from ..files.atomic import write_atomically
from .inferencer import ImageResult, Inferencer

IMAGES, RESULTS = 'images.json', 'results.json'


class Results:
    """Collects what was seen, and writes it.

    ``results.json`` is what COCO calls results, a list with one entry for each object;
    ``images.json`` says which image and which class an id means, and is opened with them by
    ``COCO('images.json').loadRes('results.json')``. Label maps of segmentation are images of their
    own, ``labels/NAME.png``; of a classified image the entry has the class and its score.

    Args:
        inferencer (Inferencer): What predicts.
        folder (Path): Where files go.
    """

    def __init__(self, inferencer: Inferencer, folder: Path) -> None:
        self._views, self._folder = inferencer.views, folder
        self._images: list[dict] = []
        self._entries: list[dict] = []
        names = [name for view in self._views.values() for name in view.class_names]
        self._categories = {name: number for number, name in enumerate(dict.fromkeys(names), 1)}

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self._images)

    def add(self, result: ImageResult) -> None:
        """Note what was seen in an image, and write its label maps.

        Args:
            result (ImageResult): What the inferencer has yielded.
        """
        number = len(self._images) + 1
        width, height = result.frame.size
        self._images.append(
            dict(id=number, file_name=result.frame.name, width=width, height=height)
        )
        for instance in result.instances:
            x1, y1, x2, y2 = instance.box
            entry: dict[str, Any] = dict(
                image_id=number,
                category_id=self._category(instance.name),
                bbox=[x1, y1, x2 - x1, y2 - y1],
                score=instance.score,
            )
            if instance.mask is not None:
                entry['segmentation'] = _encoded(instance.mask)
            if instance.keypoints is not None:
                entry['keypoints'] = [float(value) for value in instance.keypoints.flatten()]
            self._append(entry, instance.adapter)
        for name, view in self._views.items():
            for sample in result.samples[name]:
                if 'pred_score' in sample:
                    label = int(sample.pred_score.argmax())
                    names = view.class_names
                    entry = dict(
                        image_id=number,
                        category_id=self._category(
                            names[label] if label < len(names) else f'class {label}'
                        ),
                        score=float(sample.pred_score[label]),
                    )
                    self._append(entry, name)
                if 'pred_sem_seg' in sample:
                    self._write_labels(sample.pred_sem_seg.data[0], result.frame.stem, name)

    def write(self) -> list[str]:
        """Write both files, and return what was written."""
        categories = [dict(id=number, name=name) for name, number in self._categories.items()]
        images = dict(images=self._images, annotations=[], categories=categories)
        for name, content in ((IMAGES, images), (RESULTS, self._entries)):
            _write(self._folder / name, json.dumps(content))
        written = [str(self._folder / RESULTS), str(self._folder / IMAGES)]
        labels = self._folder / 'labels'
        return [*written, str(labels)] if labels.is_dir() else written

    def _category(self, name: str) -> int:
        return self._categories.setdefault(name, len(self._categories) + 1)

    def _append(self, entry: dict, adapter: str) -> None:
        if len(self._views) > 1:
            entry['adapter'] = adapter
        self._entries.append(entry)

    def _write_labels(self, labels: Any, stem: str, adapter: str) -> None:
        of_one = len(self._views) == 1
        folder = self._folder / 'labels' / ('' if of_one else adapter)
        path = folder / f'{stem}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        values = labels.cpu().numpy()
        kind = np.uint8 if values.max(initial=0) < 256 else np.uint16
        Image.fromarray(values.astype(kind)).save(path)


def _write(path: Path, text: str) -> None:
    write_atomically(path, lambda part: Path(part).write_text(text, encoding='utf-8'))


def _encoded(mask: np.ndarray) -> dict:
    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return dict(size=[int(n) for n in encoded['size']], counts=encoded['counts'].decode())
