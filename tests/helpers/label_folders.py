"""Data sets of label maps and of folders of classes, as small as they can be."""

from pathlib import Path

import numpy as np
from PIL import Image

SPLITS = ('train', 'validation')


def image(path: Path, size=(12, 8), seed: int | str = 0) -> Path:
    """Write an image of noise, (width, height) in pixels; names of other splits show another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng([*f'{path}{seed}'.encode()])
    Image.fromarray(random.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)).save(path)
    return path


def label_map(path: Path, values=(0, 1), size=(12, 8), mode: str = 'L') -> Path:
    """Write a map with a column for each value in turn; (width, height) in pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = np.resize(np.array(values), size[0])[None].repeat(size[1], 0)
    array = labels.astype(np.uint16 if mode == 'I;16' else np.uint8)
    out = Image.fromarray(array)
    if mode == 'P':
        out.putpalette([200, 10, 10, 10, 200, 10, 10, 10, 200])
    out.convert(mode).save(path) if mode == 'RGB' else out.save(path)
    return path


def label_maps(root: Path, values=(0, 1), number: int = 2, mode: str = 'L') -> Path:
    """Write a data set of label maps of the values and return its folder."""
    for split in SPLITS:
        for index in range(number):
            image(root / 'images' / split / f'{split}{index}.jpg')
            label_map(root / 'masks' / split / f'{split}{index}.png', values, mode=mode)
    return root


def class_folders(root: Path, train=('a', 'b', 'c'), val=('a', 'b', 'c')) -> Path:
    """Write a data set of one folder a class and return its folder."""
    for split, names in zip(SPLITS, (train, val), strict=True):
        for name in names:
            for index in range(2):
                image(root / split / name / f'{name}{index}.jpg')
    return root
