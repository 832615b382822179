"""What a contact sheet of training images is of, and the file that it is written to."""

import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ..errors import UserError
from ..files.atomic import write_atomically
from ..files.existing import refuse_existing
from .contact_sheet import draw_contact_sheet
from .fonts import is_drawable
from .marks import Color, Marks

COUNT = 24
# A sheet of more can no longer be looked at.
MOST = 60
SUFFIXES = ('.jpg', '.jpeg', '.png')

Key = TypeVar('Key')


@dataclass
class Sheet:
    """Training images, and what is drawn on them.

    Args:
        images (Sequence[tuple[Path, Marks]]): The files, and what is drawn on each.
        number (int): How many training images there are.
        shown (int): How many classes the images show.
        classes (Sequence[str]): All classes; what is written for them is :func:`written_names`.
        legend (Sequence[str]): A text for each class, or '' for one that has none there.
        palette (Sequence[Color]): A color for each class.
        others (Sequence[tuple[str, Color | None]]): What else has a color, or stripes (None).
        row_height (int): The height of a row in pixels, about.
    """

    images: Sequence[tuple[Path, Marks]]
    number: int
    shown: int
    classes: Sequence[str]
    legend: Sequence[str] = ()
    palette: Sequence[Color] = ()
    others: Sequence[tuple[str, Color | None]] = ()
    row_height: int = 260

    def write(self, out: Path, title: str, overwrite: bool = False) -> None:
        """Write the sheet.

        Args:
            out (Path): The file to write, .jpg or .png.
            title (str): What the data set is called.
            overwrite (bool): Whether a file that is there and differs may be replaced.

        Raises:
            UserError: A file is there and differs.
            WriteError: The file cannot be written.
        """
        sheet = draw_contact_sheet(
            self.images,
            self.legend,
            self.palette,
            f'{title}: {len(self.images):,} of {self.number:,} training images',
            row_height=self.row_height,
            others=self.others,
        )
        stream = io.BytesIO()
        sheet.save(stream, 'PNG' if out.suffix.lower() == '.png' else 'JPEG', quality=90)
        content = stream.getvalue()
        if not out.is_file() or out.read_bytes() != content:
            refuse_existing(overwrite, out)
            write_atomically(out, lambda part: Path(part).write_bytes(content))


def sheet_path(show: str | None, prefix: str) -> Path:
    """Return where the sheet is written.

    Args:
        show (str | None): The file that was given; '' or None for the usual one.
        prefix (str): What every name in the config begins with.

    Raises:
        UserError: Its name is not one of an image.
    """
    path = Path(show or f'work_dirs/{prefix}/training_images.jpg')
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f'--show {path} is no image file: its name ends in {", ".join(SUFFIXES)}')
    return path


def written_names(names: Sequence[str]) -> list[str]:
    """Return what is written for names: their numbers where no font has their letters."""
    return [name if is_drawable(name) else f'#{label}' for label, name in enumerate(names)]


def choose(
    images: Iterable[Key],
    classes: Mapping[Key, Collection[int]],
    first: Iterable[Key] = (),
    count: int = COUNT,
) -> list[Key]:
    """Choose images that show what there is, the same ones each time.

    Args:
        images (Iterable[Key]): All images.
        classes (Mapping[Key, Collection[int]]): The classes that an image shows.
        first (Iterable[Key]): Images that are worth a look for another reason.
        count (int): How many; more where these do not show every class, up to :data:`MOST`.

    Returns:
        list[Key]: In the order of the images: such that every class is shown, the first ones, and
        others at equal distances.
    """
    everything = list(images)
    seen = {image: set(shown) for image, shown in classes.items()}
    missing: set[int] = set().union(*seen.values())
    chosen: dict[Key, None] = {}
    while missing and len(chosen) < MOST:
        best = max(seen, key=lambda image: len(seen[image] & missing))
        chosen[best] = None
        missing -= seen[best]
    chosen |= dict.fromkeys(first)
    rest = [image for image in everything if image not in chosen]
    chosen |= dict.fromkeys(spaced(rest, max(count - len(chosen), 0)))
    return [image for image in everything if image in chosen]


def spaced(items: Sequence[Key], count: int) -> list[Key]:
    """Return so many items at equal distances, or all where there are no more."""
    number = min(count, len(items))
    return [items[len(items) * place // number] for place in range(number)]
