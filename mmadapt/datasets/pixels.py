"""What Pillow raises of a file that is no whole image, and gray images of more than 8 bits."""

import struct

import numpy as np
from PIL import Image

UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
)
"""What opening or decoding an image raises where the file is broken, cut off or something else."""


def eight_bits(image: Image.Image) -> Image.Image:
    """Reduce a gray image of 16 bits to 8 as OpenCV does; Pillow makes everything above 255 white.

    Args:
        image (Image.Image): An image of any mode.

    Returns:
        Image.Image: The image itself where it has no integers of more than 8 bits.
    """
    if not image.mode.startswith('I'):
        return image
    return Image.fromarray((np.asarray(image) // 256).clip(0, 255).astype(np.uint8))
