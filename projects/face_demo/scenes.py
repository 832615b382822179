"""Composes a scene: a background, then patches laid on it with soft edges, each with its box."""

import math
from dataclasses import dataclass, field

import cv2
import numpy as np

SIZE = 192  # height and width of a scene in pixels
_MAX_OVERLAP = 0.15  # of the smaller of two boxes
_ATTEMPTS = 20


@dataclass
class Patch:
    """Something to lay on a scene.

    Args:
        pixels (np.ndarray): RGB, (H, W, 3), float32 in [0, 1].
        alpha (np.ndarray): opacity, (H, W), float32 in [0, 1].
        category (str, optional): what it is; None is a distractor, which gets no annotation.
        crop (int, optional): which crop of the source it is, kept in the annotation.
    """

    pixels: np.ndarray
    alpha: np.ndarray
    category: str | None = None
    crop: int | None = None


@dataclass
class Scene:
    """A composed image and the boxes of what has a category.

    Args:
        pixels (np.ndarray): RGB, (SIZE, SIZE, 3), float32 in [0, 1].
        boxes (list): one (x1, y1, x2, y2) in pixels for every patch laid so far, distractors too.
        patches (list[Patch]): the patches of these boxes.
    """

    pixels: np.ndarray
    boxes: list[tuple[int, int, int, int]] = field(default_factory=list)
    patches: list[Patch] = field(default_factory=list)

    def lay(self, patch: Patch, longest: float, rng: np.random.Generator) -> bool:
        """Lays a patch somewhere free: turned by up to 12 degrees, mirrored half of the time.

        Args:
            patch (Patch): what to lay.
            longest (float): length of its longest side in pixels.
            rng (np.random.Generator): source of the place, the turn and the mirroring.

        Returns:
            bool: False where no free place was found; the scene is then unchanged.
        """
        height, width = patch.alpha.shape
        scale = longest / max(height, width)
        angle, mirrored = rng.uniform(-12, 12), rng.random() < 0.5
        reach = 0.5 * scale * math.hypot(height, width) * 0.8
        for _ in range(_ATTEMPTS):
            center = rng.uniform(min(reach, SIZE / 2), SIZE - min(reach, SIZE / 2), size=2)
            matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, scale)
            matrix[:, 2] += center - ((width - 1) / 2, (height - 1) / 2)
            if mirrored:
                matrix = matrix @ np.array([[-1, 0, width - 1], [0, 1, 0], [0, 0, 1]], float)
            alpha = cv2.warpAffine(patch.alpha, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR)
            rows, columns = np.nonzero(alpha > 0.5)
            if not len(rows):
                continue
            box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            box = tuple(int(value) for value in box)
            if any(overlap(box, other) > _MAX_OVERLAP for other in self.boxes):
                continue
            pixels = cv2.warpAffine(
                patch.pixels,
                matrix,
                (SIZE, SIZE),
                flags=cv2.INTER_CUBIC,
                borderMode=cv2.BORDER_REPLICATE,
            )
            alpha = alpha[..., None]
            self.pixels = alpha * pixels.clip(0, 1) + (1 - alpha) * self.pixels
            self.boxes.append(box)
            self.patches.append(patch)
            return True
        return False

    def finish(self, rng: np.random.Generator) -> np.ndarray:
        """One camera for all of it: tone, brightness, a little noise.

        Args:
            rng (np.random.Generator): source of the settings.

        Returns:
            np.ndarray: BGR, (SIZE, SIZE, 3), uint8.
        """
        image = self.pixels.clip(0, 1) ** rng.uniform(0.8, 1.25)
        if rng.random() < 0.3:
            image = toned(image @ np.array([0.299, 0.587, 0.114], np.float32), rng, strength=0.1)
        image = image * rng.uniform(0.8, 1.1) + rng.normal(0, 0.012, image.shape)
        return np.round(image[..., ::-1].clip(0, 1) * 255).astype(np.uint8)


def overlap(one: tuple, other: tuple) -> float:
    """Intersection of two (x1, y1, x2, y2) boxes as a share of the smaller one's area."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    smaller = min((b[2] - b[0]) * (b[3] - b[1]) for b in (one, other))
    return max(width, 0) * max(height, 0) / smaller


def rounded_alpha(height: int, width: int, roundness: float) -> np.ndarray:
    """A soft-edged superellipse that fills a patch.

    Args:
        height (int): rows of the patch.
        width (int): columns of the patch.
        roundness (float): the exponent; 2 is an ellipse, large is a rectangle.

    Returns:
        np.ndarray: (height, width), float32 in [0, 1], 0 along the border.
    """
    y = np.abs(np.linspace(-1, 1, height, dtype=np.float32))[:, None]
    x = np.abs(np.linspace(-1, 1, width, dtype=np.float32))[None]
    distance = (x**roundness + y**roundness) ** (1 / roundness)
    return ((1 - distance) / 0.12).clip(0, 1)


def toned(gray: np.ndarray, rng: np.random.Generator, strength: float = 0.3) -> np.ndarray:
    """A gray image printed in a warm or cool tone, as old photographs are.

    The same tones serve faces, distractors and backgrounds: color must not give a face away.

    Args:
        gray (np.ndarray): (H, W), float32 in [0, 1].
        rng (np.random.Generator): source of the tone.
        strength (float): how far red and blue may be bent apart. Defaults to 0.3.

    Returns:
        np.ndarray: RGB, (H, W, 3), float32 in [0, 1].
    """
    bend = rng.uniform(-0.5 * strength, strength)
    exponents = np.array([1 - bend, 1, 1 + 1.4 * bend], np.float32)
    return (gray.clip(0, 1)[..., None] ** exponents).astype(np.float32)


def background(texture: np.ndarray, rng: np.random.Generator) -> Scene:
    """An empty scene: a part of a texture at some scale, toned if the texture is gray.

    Args:
        texture (np.ndarray): RGB, (H, W, 3), float32 in [0, 1].
        rng (np.random.Generator): source of the part, the scale and the tone.

    Returns:
        Scene: without a patch.
    """
    side = int(rng.uniform(0.5, 1.0) * min(texture.shape[:2]))
    top, left = (int(rng.integers(0, length - side + 1)) for length in texture.shape[:2])
    pixels = cv2.resize(
        texture[top : top + side, left : left + side],
        (SIZE, SIZE),
        interpolation=cv2.INTER_AREA if side > SIZE else cv2.INTER_LINEAR,
    )
    if np.allclose(pixels[..., 0], pixels[..., 2]):
        pixels = toned(pixels[..., 0], rng)
    pixels = (pixels - 0.5) * rng.uniform(0.5, 1.0) + rng.uniform(0.3, 0.65)
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    return Scene(np.ascontiguousarray(pixels.clip(0, 1), dtype=np.float32))
