"""Corrected copies of label maps, in a folder beside that of the maps."""

import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import UserError
from ..files.atomic import write_atomically
from .label_export import LabelExport, MapSplit
from .label_map_checks import BINARY
from .label_maps import LabelMap, load_numbers, numbers_of


def write_fixed_maps(export: LabelExport, overwrite: bool) -> Iterator[tuple[str, Path, list[str]]]:
    """Write copies of all maps of each split that has something to be mended.

    A copy is a PNG of 8 bits with the name of its image: classes by number instead of by color, and
    1 instead of 255 where only 0 and 255 are there for two classes.

    Args:
        export (LabelExport): A data set all of whose errors can be mended.
        overwrite (bool): Whether copies that are there and differ are replaced.

    Yields:
        tuple[str, Path, list[str]]: A split, the folder of its copies, and what was done.

    Raises:
        UserError: A copy is there and differs.
    """
    for name, split in export.splits.items():
        kinds = export.problems.found.get(f'{split.folder.map_dir}{os.sep}', {})
        if not any(kind.fixable for kind in kinds):
            continue
        binary = _only_255(export, split)
        done = ['1 for 255'] * binary + ['class numbers for colors'] * any(
            each.channels > 1 for each in split.maps
        )
        for (image, _), each in zip(split.pairs.maps.items(), split.maps, strict=True):
            stem = image.relative_to(split.folder.image_dir).with_suffix('')
            _write(split.folder.fixed_dir / f'{stem}.png', _fixed(each, export, binary), overwrite)
        yield name, split.folder.fixed_dir, done or ['one suffix']


def _only_255(export: LabelExport, split: MapSplit) -> bool:
    """Return whether 255 stands for the second class, once colors are numbers."""
    kinds = export.problems.found.get(f'{split.folder.map_dir}{os.sep}', {})
    if BINARY in kinds:
        return True
    values = set()
    for each in split.maps:
        values |= {*each.counts, *(numbers_of(each, export.colors) or {}).values()}
    return (
        len(export.classes) == 2
        and not export.reduce_zero_label
        and values <= {0, 255}
        and 255 in values
    )


def _fixed(each: LabelMap, export: LabelExport, binary: bool) -> np.ndarray:
    """Return the class numbers of a map, (H, W) of uint8."""
    labels = load_numbers(each, export.colors).astype(np.uint8)
    if binary:
        labels[labels == 255] = 1
    return labels


def _write(path: Path, labels: np.ndarray, overwrite: bool) -> None:
    file = io.BytesIO()
    Image.fromarray(labels).save(file, 'PNG')
    content = file.getvalue()
    if path.is_file() and path.read_bytes() == content:
        return
    if path.exists() and not overwrite:
        raise UserError(
            f'{path} is there and differs; mmadapt dataset FOLDER --fix --force replaces it'
        )
    write_atomically(path, lambda part: Path(part).write_bytes(content))
