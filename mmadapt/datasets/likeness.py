"""Whether two images show the same: re-encoded, resized, brighter, mirrored, or the next frame.

A perceptual hash (ImageHash's ``phash``: the signs of the 64 lowest frequencies of 32 x 32 gray
pixels) finds what may be alike, and 16 x 16 pixels of both decide.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from .pixels import eight_bits

# Measured on a Roboflow export of faces, 677 + 171 images of about 400 x 300. Of copies saved at
# quality 10 to 60, of half the size, stretched to 640 x 640, 0.7 to 1.3 times as bright, of 1.5
# times the contrast, gray, blurred, noisy or mirrored all are found; cut by 2 percent at the edges
# 99 percent, turned by 2 degrees 98, 1.8 times as bright 89, cut by 5 percent 26. Among all pairs
# of the data set itself 16 images are found, each with one of the same photograph or the next of a
# scene. Of 207 million pairs of crops of different photographs the hash alone (8 bits or fewer)
# takes 315 for the same, both together take 31, nearly bare walls.
MOST_BITS = 10
LEAST_CORRELATION = 0.88
# Below this, in gray levels of 255, a plain wall or the sky is left: all of them are alike.
LEAST_TEXTURE = 4
_SIDE = 16
_BLOCK = 1 << 22  # distances computed at once


@dataclass(frozen=True, slots=True)
class Likeness:
    """What is kept of an image to compare it with others.

    Args:
        bits (np.ndarray): Its hash, bool of shape (64,).
        mirrored_bits (np.ndarray): The hash of the image mirrored left to right, alike.
        pixels (np.ndarray): The image, uint8 of shape (16, 16).
    """

    bits: np.ndarray
    mirrored_bits: np.ndarray
    pixels: np.ndarray


def _smooth_surfaces() -> np.ndarray:
    """Return an orthonormal basis, (256, 6), of surfaces of second order: shading, vignettes."""
    y, x = np.mgrid[:_SIDE, :_SIDE].reshape(2, -1) / (_SIDE - 1) - 0.5
    return np.linalg.qr(np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1))[0]


_SMOOTH = _smooth_surfaces()


def _texture(pixels: np.ndarray) -> np.ndarray:
    """Return what is left of images, (..., 16, 16), without shading, as (..., 256)."""
    flat = pixels.reshape(*pixels.shape[:-2], -1).astype(np.float64)
    return flat - flat @ _SMOOTH @ _SMOOTH.T


def likeness_of(image: Image.Image) -> Likeness | None:
    """Reduce an image to what it is compared by.

    Args:
        image (Image.Image): The image, decoded at any size.

    Returns:
        Likeness | None: None for an image without texture, which cannot be told from others, and
        for one of colors that PIL does not convert, such as LAB.
    """
    from imagehash import phash

    try:
        gray = eight_bits(image).convert('L')
    except ValueError:
        return None
    small = gray.resize((32, 32), Image.Resampling.LANCZOS, reducing_gap=2.0)
    pixels = np.asarray(small.resize((_SIDE, _SIDE), Image.Resampling.BOX))
    if _texture(pixels).std() < LEAST_TEXTURE:
        return None
    mirrored = small.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return Likeness(phash(small).hash.ravel(), phash(mirrored).hash.ravel(), pixels)


def find_alike(
    first: Sequence[Likeness], second: Sequence[Likeness]
) -> Iterator[tuple[int, int, bool]]:
    """Find, for each image of one list, the one of another that shows the same.

    Distances of hashes are products of matrices of 1 and -1: 80,000 by 20,000 images take 16
    seconds on one core, in blocks of 32 MB.

    Args:
        first (Sequence[Likeness]): The images looked for.
        second (Sequence[Likeness]): The images for each of which one is looked for.

    Yields:
        tuple[int, int, bool]: Places in both lists, at most one for each image of the second, and
        whether one is the other mirrored.
    """
    if not first or not second:
        return
    known = _signs([each.bits for each in first])
    ways = [_signs([e.bits for e in second]), _signs([e.mirrored_bits for e in second])]
    block = 1 + _BLOCK // len(first)
    for begin in range(0, len(second), block):
        products = [way[begin : begin + block] @ known.T for way in ways]
        nearest = [product.argmax(axis=1) for product in products]
        for offset in range(len(nearest[0])):
            place = begin + offset
            for mirrored, product, found in zip((False, True), products, nearest, strict=True):
                other = int(found[offset])
                # Of 64 signs d differ: the product is 64 - 2 d.
                if product[offset, other] >= 64 - 2 * MOST_BITS and _is_same(
                    first[other].pixels, second[place].pixels, mirrored
                ):
                    yield other, place, mirrored
                    break


def _signs(bits: Sequence[np.ndarray]) -> np.ndarray:
    return np.where(np.stack(bits), np.float32(1), np.float32(-1))


def _is_same(pixels: np.ndarray, others: np.ndarray, mirrored: bool) -> bool:
    """Return whether two images are correlated where shading is taken away."""
    one, other = _texture(pixels), _texture(others[:, ::-1] if mirrored else others)
    return float(one @ other) >= LEAST_CORRELATION * float(
        np.linalg.norm(one) * np.linalg.norm(other)
    )
