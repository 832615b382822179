"""What is annotated in an image, drawn on it: boxes, masks, keypoints, label maps.

MMDetection's visualizer writes the name of a class into its box and so over a small object; here a
name stands where nothing is, and where there is no such place the color alone says it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from .fonts import font

Color = tuple[int, int, int]
Box = tuple[float, float, float, float]

# Lines and letters are drawn twice as large as they are to be, for an image made smaller after
# that: no jagged edges.
FINE = 2
LETTERS = 12
_LINE = 2
_IGNORED = 255  # in label maps
# The color of pixels in label maps that are neither ignored nor of a class.
NO_CLASS = (255, 0, 255)
# How opaque a label map is: not at all where it is ignored.
_SEEN_THROUGH = [140] + 255 * [0]


@dataclass
class Marks:
    """What is drawn on one image; places are pixels of the image as it is on disk.

    Args:
        labels (Sequence[int]): The class of each object.
        boxes (Sequence[Box]): x1, y1, x2, y2 of each object, or nothing.
        texts (Sequence[str] | None): What is written at each object; the names of the classes by
            default.
        masks (Sequence[Any]): Of each object a list of polygons, x, y, x, y, ..., or a bool array
            of the image's shape, or None; or nothing.
        keypoints (Sequence[np.ndarray]): x, y, visibility of each object's points, (K, 3); those of
            visibility 0 are not drawn; or nothing.
        skeleton (Sequence[tuple[int, int]]): Pairs of points that a line joins, from 0.
        point_labels (Sequence[int]): Of each point the place of its color in the palette; points
            have the color of their object by default.
        label_map (np.ndarray | None): The class of each pixel, integers from 0 of the image's
            shape. 255, which is ignored, has stripes; what is no class, :data:`NO_CLASS`.
        caption (str): What stands below the image, in one line or several: the name of its class,
            of its file.
    """

    labels: Sequence[int] = ()
    boxes: Sequence[Box] = ()
    texts: Sequence[str] | None = None
    masks: Sequence[Any] = ()
    keypoints: Sequence[np.ndarray] = ()
    skeleton: Sequence[tuple[int, int]] = ()
    point_labels: Sequence[int] = ()
    label_map: np.ndarray | None = None
    caption: str = ''


def draw_marks(
    image: Image.Image,
    marks: Marks,
    names: Sequence[str],
    palette: Sequence[Color],
    scale: tuple[float, float],
) -> None:
    """Draw on an image what is annotated in it.

    Args:
        image (Image.Image): The image, RGB, :data:`FINE` times as large as it will be.
        marks (Marks): What is annotated.
        names (Sequence[str]): Names of the classes.
        palette (Sequence[Color]): A color for each of them, RGB from 0 to 255.
        scale (tuple[float, float]): Its width and height by those that the marks are for.
    """
    if marks.label_map is not None:
        _paint_map(image, marks.label_map, palette)
    for mask, label in zip(marks.masks, marks.labels, strict=False):
        if mask is not None:
            _paint_mask(image, mask, palette[label], scale)
    draw = ImageDraw.Draw(image)
    boxes: list[Box] = [_scaled(box, scale) for box in marks.boxes]
    # Small ones last, so that none is hidden.
    order = sorted(range(len(boxes)), key=lambda i: -_area(boxes[i]))
    for i in order:
        _outline(draw, boxes[i], palette[marks.labels[i]])
    for points, label in zip(marks.keypoints, marks.labels, strict=False):
        places = np.asarray(points, dtype=float)
        own = [palette[i] for i in marks.point_labels] or [palette[label]] * len(places)
        _draw_points(draw, places, marks.skeleton, palette[label], own, scale)
    placed: list[Box] = []
    for i in order[::-1]:
        text = names[marks.labels[i]] if marks.texts is None else marks.texts[i]
        if text:
            _write(draw, text, boxes, i, palette[marks.labels[i]], placed, image.size)


def _scaled(box: Box, scale: tuple[float, float]) -> Box:
    x1, y1, x2, y2 = box
    return x1 * scale[0], y1 * scale[1], x2 * scale[0], y2 * scale[1]


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _outline(draw: ImageDraw.ImageDraw, box: Box, color: Color) -> None:
    """Draw a box that shows on bright and on dark ground: dark lines on both sides of it."""
    x1, y1, x2, y2 = box
    x2, y2 = max(x2, x1 + 2 * FINE), max(y2, y1 + 2 * FINE)
    line = _LINE * FINE
    draw.rectangle((x1 - 2, y1 - 2, x2 + 2, y2 + 2), outline=(0, 0, 0), width=line + 4)
    draw.rectangle((x1, y1, x2, y2), outline=color, width=line)


def _write(
    draw: ImageDraw.ImageDraw,
    text: str,
    boxes: Sequence[Box],
    own: int,
    color: Color,
    placed: list[Box],
    size: tuple[int, int],
) -> None:
    """Write the name of a box where it covers no other box and no other name, if anywhere."""
    letters = font(LETTERS * FINE, text)
    left, top, right, bottom = draw.textbbox((0, 0), text, font=letters)
    wide, high = right - left + 10, bottom - top + 10
    x1, y1, x2, y2 = boxes[own]
    if wide > size[0]:
        return
    # Neither a large box around it counts, nor one that is about the same: what a model has found.
    others = [
        box
        for box in boxes
        if _area(box) < 20 * wide * high
        and 2 * _shared(box, boxes[own]) < max(_area(box), _area(boxes[own]))
    ]
    tries = [(x1, y1 - high), (x1, y2), (x2 - wide, y1 - high), (x2 - wide, y2)]
    if x2 - x1 > 2 * wide and y2 - y1 > 4 * high:
        tries.append((x1, y1))
    for x, y in tries:
        x = min(max(x, 0), size[0] - wide)
        place: Box = (x, y, x + wide, y + high)
        inside = y >= 0 and y + high <= size[1]
        if inside and not any(_shared(place, other) for other in [*others, *placed]):
            placed.append(place)
            draw.rectangle(place, fill=color)
            ink = (0, 0, 0) if _is_bright(color) else (255, 255, 255)
            draw.text((x + 5 - left, y + 5 - top), text, fill=ink, font=letters)
            return


def _shared(one: Box, other: Box) -> float:
    """Return the area that two boxes share."""
    wide = min(one[2], other[2]) - max(one[0], other[0])
    return max(wide, 0) * max(min(one[3], other[3]) - max(one[1], other[1]), 0)


def _is_bright(color: Color) -> bool:
    red, green, blue = color
    return 0.299 * red + 0.587 * green + 0.114 * blue > 140


def _paint_mask(tile: Image.Image, mask: Any, color: Color, scale: tuple[float, float]) -> None:
    """Lay the color of an object over its pixels, and draw their edge."""
    shape = Image.new('L', tile.size)
    if isinstance(mask, np.ndarray):
        shape = Image.fromarray(mask.astype(np.uint8) * 255).resize(tile.size)
    else:
        draw = ImageDraw.Draw(shape)
        for polygon in mask:
            points = [value * scale[i % 2] for i, value in enumerate(polygon)]
            draw.polygon(points, fill=255)
    filled = Image.new('RGB', tile.size, color)
    tile.paste(filled, mask=shape.point(lambda value: value * 0.45))
    edge = shape.filter(ImageFilter.FIND_EDGES).filter(ImageFilter.MaxFilter(3))
    tile.paste(filled, mask=edge)


def _paint_map(tile: Image.Image, label_map: np.ndarray, palette: Sequence[Color]) -> None:
    """Lay the colors of the classes over their pixels, and stripes over those that are ignored."""
    nearest = Image.Resampling.NEAREST
    # On gray, since colors of the image would make others of those of the classes.
    tile.paste(tile.convert('L').convert('RGB'))
    colors = np.array([*palette, NO_CLASS], dtype=np.uint8)
    small = Image.fromarray(colors[np.minimum(label_map, len(palette))])
    ignored = Image.fromarray(label_map == _IGNORED).resize(tile.size, nearest)
    tile.paste(small.resize(tile.size, nearest), mask=ignored.convert('L').point(_SEEN_THROUGH))
    paint_stripes(tile, ignored)


def paint_stripes(tile: Image.Image, where: Image.Image) -> None:
    """Lay black and white stripes over a part of an image: pixels that are ignored.

    Args:
        tile (Image.Image): The image, RGB, :data:`FINE` times as large as it will be.
        where (Image.Image): The part, of mode 1 and the same size.
    """
    y, x = np.ogrid[: tile.height, : tile.width]
    stripe = (x + y) // (2 * FINE) % 5
    inside = np.asarray(where)
    for number, ink in enumerate([(0, 0, 0), (255, 255, 255)]):
        tile.paste(ink, mask=Image.fromarray(inside & (stripe == number)))


def _draw_points(
    draw: ImageDraw.ImageDraw,
    points: np.ndarray,
    skeleton: Sequence[tuple[int, int]],
    color: Color,
    own: Sequence[Color],
    scale: tuple[float, float],
) -> None:
    """Draw the visible points of an object, and the lines between them."""
    places = [tuple(point[:2] * scale) for point in points]
    seen = points[:, 2] > 0
    for one, other in skeleton:
        if seen[one] and seen[other]:
            ends = (*places[one], *places[other])
            draw.line(ends, fill=(0, 0, 0), width=_LINE * FINE + 4)
            draw.line(ends, fill=color, width=_LINE * FINE)
    for (x, y), visibility, inside in zip(places, points[:, 2], own, strict=True):
        radius = 3 * FINE
        box = (x - radius, y - radius, x + radius, y + radius)
        if visibility > 0:
            draw.ellipse(
                [x - radius - 2, y - radius - 2, x + radius + 2, y + radius + 2], (0, 0, 0)
            )
            # A hollow one is hidden in the image, as COCO has it.
            fill = inside if visibility > 1 else (0, 0, 0)
            draw.ellipse(box, fill=fill, outline=inside, width=_LINE * FINE)
