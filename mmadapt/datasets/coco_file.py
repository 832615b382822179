"""A COCO file as `CocoDataset` and `CocoMetric` read it, before they do."""

import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from ..errors import UserError
from .file_checks import complete_path
from .training_use import why_untrained

NEEDED = ('image_id', 'category_id', 'bbox', 'area')


@lru_cache(maxsize=1)
def read_once(path: Path) -> dict:
    """Return the three lists of a file; the last one read is kept until ``cache_clear()``."""
    try:
        data = json.loads(path.read_text(encoding='utf-8'))
        # Files of images to test on, or without labels, have no annotations.
        return dict(
            images=data['images'],
            annotations=data.get('annotations', []),
            categories=data['categories'],
        )
    except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise UserError(
            f'{path} is cut off or not in COCO format ({type(error).__name__}: {error}'
            '); mmadapt dataset FOLDER says what is wrong with it'
        ) from None


def local_file(leaf: dict) -> Path | None:
    """Return the annotation file of a data set's or an evaluator's config, if it is local."""
    ann_file = leaf.get('ann_file')
    path = complete_path(leaf, ann_file) if isinstance(ann_file, str) and ann_file else None
    return path if path is not None and path.is_file() else None


class CocoFile:
    """A COCO file as `CocoDataset` or `CocoMetric` reads it.

    Args:
        cfg (dict): The config of the data set or the evaluator.
        classes (Sequence[str]): The names of the classes.
        folder (str | None): The data set's folder; by default that of ``cfg``.

    Raises:
        UserError: If a key is missing that MMDetection reads.
    """

    def __init__(self, cfg: dict, classes: Sequence[str], folder: str | None = None) -> None:
        path = local_file(cfg)
        assert path is not None  # who asks has looked
        self.path = path
        self.folder = folder or cfg.get('data_root') or str(self.path.parent)
        self.remedy = f'mmadapt dataset {self.folder}'
        content = read_once(self.path)
        self.names = {
            entry['id']: entry['name']
            for entry in content['categories']
            if entry['name'] in classes
        }
        self.images = {entry.get('id'): entry for entry in content['images']}
        for entry in content['images']:
            self.need(entry, ('id', 'file_name', 'width', 'height'), 'images')
        self.annotations = [
            ann
            for ann in content['annotations']
            if ann.get('image_id') in self.images and ann.get('category_id') in self.names
        ]
        for ann in content['annotations']:
            # These two are read before anything is left out.
            self.need(ann, NEEDED[:2], 'annotations')
        self.unlisted = sum(ann['image_id'] not in self.images for ann in content['annotations'])

    def need(self, entry: dict, keys: Sequence[str], kind: str) -> None:
        """Raise UserError where an entry of a list lacks a key."""
        missing = [key for key in keys if entry.get(key) is None]
        if missing:
            raise UserError(
                f'{self.path} has {kind} without {missing[0]}, at which MMDetection '
                f'stops, for instance the one with id {entry.get("id")}; '
                f'{self.remedy} lists them, and --fix mends what needs no decision'
            )

    def boxes(self) -> Iterator[tuple[dict, dict, str | None]]:
        """Yield annotation, image, and why it is not trained on."""
        for ann in self.annotations:
            if not ann.get('ignore'):
                self.need(ann, NEEDED, 'annotations')
            image = self.images[ann['image_id']]
            try:
                yield ann, image, why_untrained(ann, image)
            except (TypeError, ValueError):
                raise UserError(
                    f'{self.path}: the bbox of annotation {ann.get("id")} is {ann["bbox"]!r}, not '
                    f'four numbers, at which MMDetection stops; {self.remedy} --fix drops such '
                    'boxes'
                ) from None
