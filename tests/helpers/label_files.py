"""Tiny data sets in the formats of other tools, written by hand, and what is read of them."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (200, 100)


def write_image(path: Path, size: tuple = SIZE, seed: int | None = None, **options) -> Path:
    """Write an image that no other is like."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(sum(path.as_posix().encode()) if seed is None else seed)
    blobs = Image.fromarray(random.integers(0, 255, (8, 8, 3), dtype=np.uint8))
    blobs.resize(size, Image.Resampling.BICUBIC).save(path, **options)
    return path


def write_text(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding='utf-8')
    return path


def read_coco(folder: Path, split: str = 'train') -> dict:
    """Return a written file by image: its size, and of each box class, corners and marks."""
    data = json.loads((folder / 'mmadapt' / f'{split}.json').read_text())
    names = {entry['id']: entry['name'] for entry in data['categories']}
    images = {entry['id']: entry for entry in data['images']}
    found: dict = {
        entry['file_name']: [(entry['width'], entry['height'])] for entry in images.values()
    }
    for ann in data['annotations']:
        found[images[ann['image_id']]['file_name']].append(
            (names[ann['category_id']], *ann['bbox'])
        )
    return found


def annotations(folder: Path, split: str = 'train') -> list[dict]:
    return json.loads((folder / 'mmadapt' / f'{split}.json').read_text())['annotations']


def classes(folder: Path, split: str = 'train') -> list[str]:
    data = json.loads((folder / 'mmadapt' / f'{split}.json').read_text())
    return [entry['name'] for entry in data['categories']]
