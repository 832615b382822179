"""Which training images of a data set of label maps are looked at, with their maps laid over."""

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from .base_config import distinct_palette
from .label_export import LabelExport, MapSplit
from .label_maps import IGNORED, LabelMap, labels_of, load_numbers, numbers_of
from .marks import NO_CLASS, Color, Marks
from .sheets import Sheet, choose, written_names

# A class that covers less of an image, and less than half of what it covers elsewhere, is hardly
# seen there.
LEAST_SHARE = 0.01
_NO_LABEL = 2 * IGNORED


def map_sheet(export: LabelExport) -> Sheet:
    """Choose training images, with their label maps.

    Without a list of classes the values stand for them, so that the sheet shows what they mean.

    Args:
        export (LabelExport): The data set as read.

    Returns:
        Sheet: Without images where there are none.
    """
    split = export.splits.get('train')
    if split is None:
        return Sheet([], 0, 0, ())
    maps = dict(zip(split.pairs.maps, split.maps, strict=True))
    labels = {image: _labels(each, export) for image, each in maps.items()}
    total = sum(labels.values(), Counter())
    names, palette = list(export.classes), export.palette
    if not names:
        values = {value for value in total if value < IGNORED}
        names = [str(v) if v in values else '' for v in range(max(values, default=-1) + 1)]
        palette = distinct_palette(len(names))
    written = written_names(names)
    images: list[tuple[Path, Marks]] = []
    shown: set[int] = set()
    for image in choose(maps, _seen_in(labels)):
        images.append((image, _marks(image, maps[image], split, export)))
        shown |= {label for label in labels[image] if label < len(names)}
    return Sheet(
        images,
        len(maps),
        len(shown - {IGNORED}),
        [name for name in names if name],
        [text and f'{text} {_share(label, total)}' for label, text in enumerate(written)],
        palette,
        _others(total, len(names)),
    )


def _labels(each: LabelMap, export: LabelExport) -> Counter[int]:
    """Count the pixels of a map by label, by its colors where it has some."""
    counts = Counter(each.counts)
    if each.channels > 1:
        numbers = numbers_of(each, export.colors) or {}
        for color, number in numbers.items():
            counts[number] += each.colors[color]
    return labels_of(counts, export.reduce_zero_label)


def _seen_in(labels: dict[Path, Counter[int]]) -> dict[Path, set[int]]:
    """Return which labels an image shows well enough; what is ignored is one of them."""
    most: dict[int, float] = defaultdict(float)
    for counts in labels.values():
        for label, count in counts.items():
            most[label] = max(most[label], count / counts.total())
    return {
        image: {
            label
            for label, count in counts.items()
            if count / counts.total() >= min(LEAST_SHARE, most[label] / 2)
        }
        for image, counts in labels.items()
    }


def _marks(image: Path, each: LabelMap, split: MapSplit, export: LabelExport) -> Marks:
    """Return the label map of an image, as MMSegmentation makes it of the file, and the names."""
    caption = image.relative_to(split.folder.image_dir).as_posix()
    if each.fault or (each.channels > 1 and numbers_of(each, export.colors) is None):
        what = 'a map of colors' if each.channels > 1 else 'a map that cannot be read'
        return Marks(caption=f'{what}\n{caption}')
    values = load_numbers(each, export.colors)
    numbers = np.where((values < 0) | (values > IGNORED), _NO_LABEL, values).astype(int)
    if export.reduce_zero_label:
        numbers = np.where((numbers == 0) | (numbers == IGNORED), IGNORED, numbers - 1)
    return Marks(label_map=numbers, caption=caption)


def _others(total: Counter[int], number: int) -> list[tuple[str, Color | None]]:
    """Return what the legend says beside the classes: what is ignored, and what is no class."""
    others: list[tuple[str, Color | None]] = []
    if total[IGNORED]:
        others.append((f'ignored {_share(IGNORED, total)}', None))
    beyond = sorted(label for label in total if label >= number and label != IGNORED)
    if beyond:
        listed = ', '.join(map(str, beyond[:5])) + ', ...' * (len(beyond) > 5)
        others.append((f'no class ({listed})', NO_CLASS))
    return others


def _share(label: int, total: Counter[int]) -> str:
    """Return the share of the pixels that a label has, which is 0 only where there is none."""
    share = total[label] / max(total.total(), 1)
    return '<0.1%' if 0 < share < 0.0005 else f'{share:.1%}'
