"""A data set of images and label maps, read and checked as a whole."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .base_config import distinct_palette
from .class_list import NAMES, Color, check_names, read_class_list
from .label_layout import MapFolder, find_map_folders
from .label_map_checks import check_label_maps
from .label_maps import IGNORED, LabelMap, labels_of, read_label_maps
from .label_pairs import Pairs, check_sizes, pair_files
from .problems import Kind, Problems
from .seen_images import look_at_images

NO_SPLIT = Kind(
    'error',
    'no such split',
    'expected images/SPLIT and masks/SPLIT with SPLIT one of train; validation, valid, val',
)
NO_TEST = Kind('note', 'no test split', 'the test data set is the validation split')
NO_CLASSES = Kind(
    'error',
    'no list of classes',
    'give --classes NAME,NAME,... in the order of the values from 0, or a line each in classes.txt',
)
ONE_CLASS = Kind(
    'error',
    'a single class',
    'every pixel that is not ignored is of it, so that there is nothing to learn; name what is '
    'around it too, in the order of the values: --classes background,NAME',
)


@dataclass
class MapSplit:
    """One split of a data set of label maps.

    Args:
        folder (MapFolder): Where it is.
        pairs (Pairs): Its images and their maps.
        maps (list[LabelMap]): What is in the maps.
        pixels (Counter[int]): Pixels by label, of maps that can be used.
    """

    folder: MapFolder
    pairs: Pairs
    maps: list[LabelMap]
    pixels: Counter[int]

    @property
    def ignored(self) -> float:
        """float: The share of pixels that are ignored."""
        return self.pixels[IGNORED] / max(self.pixels.total(), 1)


@dataclass
class LabelExport:
    """A data set of label maps as read from disk.

    Args:
        folder (Path): The data set folder.
        splits (dict[str, MapSplit]): Its splits.
        classes (tuple[str, ...]): Class names in the order of their labels.
        colors (list[Color]): Their RGB colors, where they are listed.
        reduce_zero_label (bool): Whether 0 is ignored and one taken off the others.
        problems (Problems): Everything that was found.
    """

    folder: Path
    splits: dict[str, MapSplit]
    classes: tuple[str, ...]
    colors: list[Color]
    reduce_zero_label: bool
    problems: Problems

    @property
    def palette(self) -> list[Color]:
        """list[Color]: The colors that are listed, or others that differ; one for each class."""
        return self.colors or distinct_palette(len(self.classes))


def read_label_export(
    folder: Path,
    splits: Sequence[str] = ('train', 'val', 'test'),
    classes: Sequence[str] = (),
    reduce_zero_label: bool = False,
    fixed: Sequence[str] = (),
) -> LabelExport:
    """Read and check a data set of label maps.

    Args:
        folder (Path): The data set folder.
        splits (Sequence[str]): The splits to read.
        classes (Sequence[str]): Class names in the order of their values; by default those listed
            in the folder.
        reduce_zero_label (bool): Whether 0 is ignored and one taken off the others.
        fixed (Sequence[str]): The splits whose corrected copies are to be read.

    Returns:
        LabelExport: What was found; its ``problems`` say whether it can be used.

    Raises:
        UserError: A name or a color of the classes stands there twice.
    """
    problems = Problems()
    places = {name: place for name, place in find_map_folders(folder).items() if name in splits}
    for name in fixed:
        copies = places[name].fixed_dir
        places[name] = replace(places[name], map_dir=copies, map_root=copies)
    _, listed, colors = read_class_list(folder)
    if classes:
        check_names('--classes', [*classes])
        colors = colors if len(colors) == len(classes) else []
    names = tuple(classes or listed)
    for name in ('train', 'val'):
        if name not in places:
            problems.add(NO_SPLIT, f'{folder}, {name} split', _nearly(folder))
    found = {}
    for name, place in places.items():
        pairs = pair_files(place, problems)
        maps = read_label_maps([*pairs.maps.values()])
        found[name] = MapSplit(place, pairs, maps, Counter())
    if not names and found:
        problems.add(NO_CLASSES, str(folder), _seen(found, reduce_zero_label))
    if len(names) == 1:
        problems.add(ONE_CLASS, str(folder), names[0])
    images = {name: [*split.pairs.maps] for name, split in found.items()}
    sizes = look_at_images(images, problems)
    for name, split in found.items():
        file = f'{split.folder.map_dir}{os.sep}'
        check_sizes(dict(zip(split.pairs.maps, split.maps, strict=True)), sizes, file, problems)
        if names:
            split.pixels = check_label_maps(
                split.maps,
                names,
                file,
                problems,
                trains=name == 'train',
                reduce_zero_label=reduce_zero_label,
                colors=colors,
            )
    if 'val' in found and 'test' in splits and 'test' not in found and not problems.has_errors:
        problems.add(NO_TEST, str(folder))
    return LabelExport(folder, found, names, colors, reduce_zero_label, problems)


def _seen(splits: dict[str, MapSplit], reduce_zero_label: bool) -> str:
    """Say which values the maps have."""
    labels: Counter[int] = Counter()
    for split in splits.values():
        for each in split.maps:
            labels += labels_of(each.counts, reduce_zero_label)
    listed = ', '.join(map(str, sorted(labels)[:20])) + ', ...' * (len(labels) > 20)
    return f'the maps have {listed or "colors"}; none of {", ".join(NAMES)} is there'


def _nearly(folder: Path) -> str:
    """Say what the data set folder holds."""
    holds = sorted(p.name + '/' * p.is_dir() for p in folder.iterdir())
    shown = ', '.join(holds[:8]) + ', ...' * (len(holds) > 8)
    return f'the folder holds {shown or "nothing"}'
