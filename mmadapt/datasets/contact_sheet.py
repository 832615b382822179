"""A contact sheet: many images with what is annotated in them, in one to look at."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps

from .fonts import font
from .image_checks import oriented_size
from .marks import FINE, LETTERS, Color, Marks, draw_marks, paint_stripes
from .pixels import UNREADABLE, eight_bits

BACK, INK, DIM = (24, 26, 30), (235, 235, 235), (150, 154, 160)
_GAP = 8
_LINE = LETTERS + 6
# Narrower than this, nothing can be read below an image.
_NARROWEST = 100


def draw_contact_sheet(
    images: Sequence[tuple[Path, Marks]],
    names: Sequence[str],
    palette: Sequence[Color],
    title: str,
    width: int = 1920,
    row_height: int = 260,
    others: Sequence[tuple[str, Color | None]] = (),
) -> Image.Image:
    """Draw images in rows of equal width, each whole and in its own proportions.

    Args:
        images (Sequence[tuple[Path, Marks]]): The files, and what is drawn on each.
        names (Sequence[str]): Names of the classes, for the legend; '' for one that it leaves out.
        palette (Sequence[Color]): A color for each of them, RGB from 0 to 255.
        title (str): What is shown.
        width (int): The width of the sheet in pixels.
        row_height (int): The height of a row in pixels, about.
        others (Sequence[tuple[str, Color | None]]): What else the legend has, and its color; None
            for the stripes of what is ignored.

    Returns:
        Image.Image: The sheet, RGB.
    """
    sizes = [_size(path) for path, _ in images]
    rows = _rows([w / h for w, h in sizes], width, row_height)
    header = _header(title, [*zip(names, palette, strict=True), *others], width)
    lines = max((len(marks.caption.splitlines()) for _, marks in images), default=0)
    below = lines * _LINE + 2 if lines else 0
    height = header.height + sum(row[0][1] + below + _GAP for row in rows)
    sheet = Image.new('RGB', (width, height), BACK)
    sheet.paste(header, (0, 0))
    draw = ImageDraw.Draw(sheet)
    number, y = 0, header.height
    for row in rows:
        x = _GAP
        for side in row:
            path, marks = images[number]
            sheet.paste(_tile(path, side, marks, names, palette), (x, y))
            caption = marks.caption.splitlines()
            for line, text in enumerate(caption, 1):
                place = (x, y + side[1] + 3 + (line - 1) * _LINE)
                ink = DIM if line == len(caption) else INK
                letters = font(LETTERS, text)
                draw.text(place, _shortened(text, side[0]), fill=ink, font=letters)
            x, number = x + side[0] + _GAP, number + 1
        y += row[0][1] + below + _GAP
    return sheet


def _size(path: Path) -> tuple[int, int]:
    """Return an image's size; that of the tile which stands for one that cannot be read."""
    try:
        with Image.open(path) as image:
            return oriented_size(image)
    except UNREADABLE:
        return 320, 240


def _rows(ratios: list[float], width: int, height: int) -> list[list[tuple[int, int]]]:
    """Return the sizes of images by rows: as many in each as make it about as high as asked."""
    rows: list[list[tuple[int, int]]] = []
    row: list[float] = []
    for number, ratio in enumerate(ratios):
        # A narrower or wider one has a dark margin.
        row.append(min(max(ratio, 0.4, _NARROWEST / height), 4))
        last = number == len(ratios) - 1
        inner = width - _GAP * (len(row) + 1)
        if sum(row) * height < inner and not last:
            continue
        # The last row may be short, and is then no higher than the others.
        high = min(inner / sum(row), height * (1.0 if last else 1.25))
        rows.append([(round(each * high), round(high)) for each in row])
        row = []
    return rows


def _tile(
    path: Path, size: tuple[int, int], marks: Marks, names: Sequence[str], palette: Sequence[Color]
) -> Image.Image:
    """Return an image within a size, with its marks."""
    full = _size(path)
    scale = min(size[0] / full[0], size[1] / full[1])
    # By a pixel more or less it fills the size.
    within = [max(round(f * scale), 1) for f in full]
    within = [s if abs(s - w) < 3 else w for s, w in zip(size, within, strict=True)]
    fine = (within[0] * FINE, within[1] * FINE)
    try:
        with Image.open(path) as opened:
            opened.draft('RGB', (max(fine), max(fine)))
            image = eight_bits(ImageOps.exif_transpose(opened)).convert('RGB')
    except UNREADABLE:
        tile = Image.new('RGB', fine, DIM)
        ImageDraw.Draw(tile).text((9, 9), 'cannot be read', fill=BACK, font=font(15 * FINE))
    else:
        tile = image.resize(fine, Image.Resampling.LANCZOS)
        draw_marks(tile, marks, names, palette, (fine[0] / full[0], fine[1] / full[1]))
    whole = Image.new('RGB', size, BACK)
    small = tile.resize((within[0], within[1]), Image.Resampling.LANCZOS)
    whole.paste(small, ((size[0] - within[0]) // 2, (size[1] - within[1]) // 2))
    return whole


def _header(title: str, legend: Sequence[tuple[str, Color | None]], width: int) -> Image.Image:
    """Return title and legend: the legend in as many lines as it needs."""
    places: list[tuple[int, int, str, Color | None]] = []
    x, y = _GAP, 44
    for name, color in (each for each in legend if each[0]):
        text = _shortened(name, width // 3, 15)
        wide = 26 + round(font(15, name).getlength(text)) + 22
        if x + wide > width and x > _GAP:
            x, y = _GAP, y + 26
        places.append((x, y, text, color))
        x += wide
    header = Image.new('RGB', (width, y + 32 if legend else 44), BACK)
    draw = ImageDraw.Draw(header)
    draw.text((_GAP, 10), _shortened(title, width - 2 * _GAP, 20), fill=INK, font=font(20, title))
    for x, y, text, color in places:
        if color is None:
            swatch = Image.new('RGB', (18 * FINE, 14 * FINE), DIM)
            paint_stripes(swatch, Image.new('1', swatch.size, 1))
            header.paste(swatch.reduce(FINE), (x, y + 2))
        else:
            draw.rectangle((x, y + 2, x + 18, y + 16), fill=color)
        draw.text((x + 26, y), text, fill=INK, font=font(15, text))
    return header


def _shortened(text: str, width: int, size: int = LETTERS) -> str:
    """Return a text that is no wider, its end kept: file names differ there."""
    letters = font(size, text)
    if letters.getlength(text) <= width:
        return text
    while text and letters.getlength(f'...{text}') > width:
        text = text[1:]
    return f'...{text}'
