"""The demo's data set: real faces on real textures among other things, made here, never fetched.

python -m projects.face_demo.sample data/face_demo
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from . import coco, sources
from .scenes import Patch, Scene, background, rounded_alpha, toned

CATEGORIES = ['face']
RECIPE = dict(version=2, seed=56, train=320, validation=60)
_DESCRIPTION = (
    'Faces of lfw_subset (scikit-image) composed on textures among distractors. The images are '
    'gray or toned; a validation image shares no crop and no background with a training image'
)


def _small(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random square of an image, as coarse as a face crop is: 25 px."""
    side = min(int(rng.uniform(40, 90)), *image.shape[:2])
    top, left = (int(rng.integers(0, length - side + 1)) for length in image.shape[:2])
    part = np.ascontiguousarray(image[top : top + side, left : left + side].mean(axis=2))
    return cv2.resize(part, (25, 25), interpolation=cv2.INTER_AREA)


def _patch(gray: np.ndarray, rng: np.random.Generator, **what) -> Patch:
    """One treatment for faces and distractors, so that only the content tells them apart."""
    gray = (gray * rng.uniform(0.75, 1.15) + rng.uniform(-0.05, 0.1)).clip(0, 1)
    pixels = toned(gray, rng)
    return Patch(pixels, rounded_alpha(*gray.shape, roundness=rng.uniform(2.2, 5)), **what)


def scenes(split: str, count: int, seed: int) -> Iterator[tuple[Scene, np.ndarray]]:
    """Composes the scenes of one split.

    Args:
        split (str): 'train' or 'validation'.
        count (int): how many.
        seed (int): the same seed gives the same scenes.

    Yields:
        tuple[Scene, np.ndarray]: the scene, and its finished image (BGR, uint8).
    """
    rng = np.random.default_rng([seed, sources.SPLITS.index(split)])
    faces = sources.face_crops(split)
    non_faces = list(sources.non_face_crops(split).values())
    grounds = list(sources.textures(split).values())
    others = list(sources.other_objects(split).values()) + grounds
    for _ in range(count):
        scene = background(grounds[rng.integers(len(grounds))], rng)
        size = lambda: float(np.exp(rng.uniform(np.log(24), np.log(84))))  # noqa: E731
        for _ in range(rng.choice(5, p=[0.06, 0.32, 0.32, 0.2, 0.1])):
            crop = int(rng.choice(list(faces)))
            scene.lay(_patch(faces[crop], rng, category='face', crop=crop), size(), rng)
        for _ in range(rng.integers(1, 5)):
            if rng.random() < 0.4:
                gray = non_faces[rng.integers(len(non_faces))]
            else:
                gray = _small(others[rng.integers(len(others))], rng)
            scene.lay(_patch(gray, rng), size(), rng)
        yield scene, scene.finish(rng)


def prepare(root: Path, recipe: dict = RECIPE) -> bool:
    """Makes the data set unless it is there already.

    Args:
        root (Path): where; emptied first when it holds something incomplete or of another recipe.
        recipe (dict): version, seed and the number of images of each split.

    Returns:
        bool: whether it was made now.
    """
    return coco.prepare(root, recipe, scenes, CATEGORIES, _DESCRIPTION)


def main() -> None:
    """Makes the data set in the folder given."""
    parser = argparse.ArgumentParser(description='make the sample data set of the face demo')
    parser.add_argument('root', type=Path)
    root = parser.parse_args().root
    print(f'{root}: {"made" if prepare(root) else "already there"}')


if __name__ == '__main__':
    main()
