"""The contact sheet: validation images with what is there and what was found."""

import contextlib
import io
from pathlib import Path

from mmengine.fileio import load
from PIL import Image, ImageDraw, ImageFont
from pycocotools.coco import COCO

TRUTH, FOUND = (64, 220, 120), (255, 140, 0)
_BACK, _INK = (24, 26, 30), (235, 235, 235)
_SCALE, _GAP, _HEADER = 1.5, 8, 44


def _outlined(draw: ImageDraw.ImageDraw, box: tuple, color: tuple, width: int) -> None:
    """A box that shows on bright and on dark ground: a dark line outside the colored one."""
    x1, y1, x2, y2 = box
    draw.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline=(0, 0, 0))
    draw.rectangle(box, outline=color, width=width)


def _tile(image: Image.Image, truths: list, found: list, font: ImageFont.ImageFont) -> Image.Image:
    """One enlarged image; boxes are (x1, y1, x2, y2) in its pixels, found ones with a score."""
    tile = image.resize([round(side * _SCALE) for side in image.size], Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(tile)
    for box in truths:
        _outlined(draw, tuple(_SCALE * value for value in box), TRUTH, 3)
    for box, _ in found:
        _outlined(draw, tuple(_SCALE * value for value in box), FOUND, 2)
    for box, score in sorted(found, key=lambda item: item[1]):  # the surest on top
        label = f'{score:.2f}'
        left, top, right, bottom = draw.textbbox((0, 0), label, font=font)
        width, height = right - left + 6, bottom - top + 6
        x = min(max(_SCALE * box[0], 0), tile.width - width)
        y = _SCALE * box[1] - height
        y = y if y >= 0 else max(_SCALE * box[1], 0)
        draw.rectangle((x, y, x + width, y + height), fill=FOUND)
        draw.text((x + width / 2, y + height / 2), label, fill=(0, 0, 0), font=font, anchor='mm')
    return tile


def draw_sheet(
    annotations: Path,
    predictions: Path,
    out: Path,
    title: str,
    threshold: float = 0.4,
    columns: int = 6,
    rows: int = 4,
) -> None:
    """Draws the first images of a split with their true and their predicted boxes.

    Args:
        annotations (Path): the COCO file; its images lie beside it.
        predictions (Path): what MMDetection's `tools/test.py --out` wrote.
        out (Path): the JPEG or PNG file to write.
        title (str): what was tested, for the legend.
        threshold (float): predictions of a lower score are not drawn. Defaults to 0.4.
        columns (int): images side by side. Defaults to 6.
        rows (int): rows of images. Defaults to 4.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        coco = COCO(annotations)
    font, small = (ImageFont.load_default(size=size) for size in (20, 15))
    tiles = []
    for prediction in load(predictions)[: columns * rows]:
        image_id = prediction['img_id']
        with Image.open(annotations.parent / coco.loadImgs(image_id)[0]['file_name']) as image:
            image = image.convert('RGB')
        truths = [
            (x, y, x + w, y + h)
            for x, y, w, h in (annotation['bbox'] for annotation in coco.imgToAnns[image_id])
        ]
        instances = prediction['pred_instances']
        found = [
            (tuple(box), score)
            for box, score in zip(
                instances['bboxes'].tolist(), instances['scores'].tolist(), strict=True
            )
            if score >= threshold
        ]
        tiles.append(_tile(image, truths, found, small))
    side_x, side_y = tiles[0].size
    rows = -(-len(tiles) // columns)
    sheet = Image.new(
        'RGB', (columns * (side_x + _GAP) + _GAP, rows * (side_y + _GAP) + _GAP + _HEADER), _BACK
    )
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, 10), title, fill=_INK, font=font)
    x = sheet.width - _GAP
    for text, color in ((f'found, with its score (from {threshold:g})', FOUND), ('true', TRUTH)):
        x -= draw.textlength(text, font=font)
        draw.text((x, 10), text, fill=_INK, font=font)
        x -= 30
        draw.rectangle((x, 12, x + 22, 32), outline=color, width=4)
        x -= 24
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        sheet.paste(tile, (_GAP + column * (side_x + _GAP), _HEADER + _GAP + row * (side_y + _GAP)))
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out, quality=90)
