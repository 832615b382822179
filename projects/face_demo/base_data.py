"""What the demo's own base learns where there is no official checkpoint: five things, no face."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from . import coco, sources
from .scenes import Patch, Scene, background, rounded_alpha, toned

RECIPE = dict(version=1, seed=7, train=600, validation=64)
_DESCRIPTION = (
    'Five things of the images bundled with scikit-image, composed on textures; there is no '
    'human face among them'
)


def _object(
    image: np.ndarray, mask: np.ndarray | None, rng: np.random.Generator, category: str | None
) -> Patch:
    """A patch of one object: brightness and contrast vary, some are gray."""
    image = (image - 0.5) * rng.uniform(0.7, 1.2) + 0.5 + rng.uniform(-0.12, 0.12)
    if rng.random() < 0.4:
        image = toned(image.mean(axis=2), rng)
    if mask is None:
        mask = rounded_alpha(*image.shape[:2], roundness=rng.uniform(2.5, 8))
    image = np.ascontiguousarray(image.clip(0, 1), dtype=np.float32)
    return Patch(image, mask, category=category)


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
    things = sources.base_objects()
    grounds = list(sources.textures(split).values())
    for _ in range(count):
        scene = background(grounds[rng.integers(len(grounds))], rng)
        for _ in range(rng.integers(1, 6)):
            name = list(things)[rng.integers(len(things))]
            size = float(np.exp(rng.uniform(np.log(30), np.log(96))))
            scene.lay(_object(*things[name], rng, name), size, rng)
        for _ in range(rng.integers(0, 3)):
            ground = background(grounds[rng.integers(len(grounds))], rng).pixels[:64, :64]
            scene.lay(_object(ground, None, rng, None), float(rng.uniform(24, 80)), rng)
        yield scene, scene.finish(rng)


def prepare(root: Path, recipe: dict = RECIPE) -> bool:
    """Makes the data set unless it is there already.

    Args:
        root (Path): where; emptied first when it holds something incomplete or of another recipe.
        recipe (dict): version, seed and the number of images of each split.

    Returns:
        bool: whether it was made now.
    """
    return coco.prepare(root, recipe, scenes, list(sources.base_objects()), _DESCRIPTION)
