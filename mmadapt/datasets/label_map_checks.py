"""What is wrong with label maps: before a config is written for them, and before a training."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from .class_list import Color
from .label_maps import IGNORED, MOST_COLORS, LabelMap, labels_of, numbers_of
from .problems import Kind, Problems

UNREADABLE = Kind('error', 'label maps that cannot be read', 'copy or export them again')
COLORS = Kind(
    'error',
    'label maps of colors, where a map has one number a pixel',
    'export class numbers; or list NAME R G B of each class in classes.txt',
)
COLORS_FIXABLE = Kind(
    'error',
    'label maps of colors, where a map has one number a pixel',
    'mmadapt dataset FOLDER --fix writes copies with the class numbers',
    True,
)
LOSSY = Kind(
    'error',
    'label maps saved as JPEG, which changes their values',
    'export them as PNG: JPEG mixes the numbers at every border',
)
WRAPPED = Kind(
    'error',
    'values beyond 255',
    'MMSegmentation casts maps to 8 bits, so that 300 becomes 44: number the classes from 0',
)
BINARY = Kind(
    'error',
    'only 0 and 255 with two classes',
    'MMSegmentation ignores 255, so that the second class is never learned, and mIoU is 100 '
    'without it; mmadapt dataset FOLDER --fix writes copies with 1 for 255',
    True,
)
BEYOND = Kind(
    'error',
    'values that are no class',
    'training ends with an IndexError; name all classes, in the order of their values from 0; '
    '255 is ignored',
)
FROM_ONE = Kind(
    'error',
    'values that are no class',
    'either the name of value 0 is missing in the classes, or reduce_zero_label=True of the data '
    'set (mmadapt dataset FOLDER --reduce-zero-label) ignores 0 and takes one off the others',
)
NEVER_TRAINED = Kind('warning', 'classes that no training map has', 'they cannot be learned')
ABSENT = Kind(
    'note', 'classes that no map of the split has', 'their IoU is nan, and left out of mIoU'
)
ALL_IGNORED = Kind('warning', 'maps of nothing but ignored pixels', 'nothing is learned of them')
MOSTLY_IGNORED = Kind('warning', 'more than half of the pixels are ignored', 'is that meant?')
IGNORES = Kind('note', 'ignored pixels')


def check_label_maps(
    maps: Sequence[LabelMap],
    classes: Sequence[str],
    file: str,
    problems: Problems,
    *,
    trains: bool,
    reduce_zero_label: bool = False,
    label_map: Mapping[int, int] | None = None,
    colors: Sequence[Color] = (),
) -> Counter[int]:
    """Find everything that is wrong with the values of a split's maps.

    Args:
        maps (Sequence[LabelMap]): The maps.
        classes (Sequence[str]): The names of the classes, in the order of their labels.
        file (str): What is at fault, for messages: the folder.
        problems (Problems): Takes what is found.
        trains (bool): Whether they are trained on.
        reduce_zero_label (bool): As the data set has it.
        label_map (Mapping[int, int] | None): What a data set of classes of its own makes of them
            where it is told to have others.
        colors (Sequence[Color]): The RGB colors of the classes, where they are listed.

    Returns:
        Counter[int]: Pixels by label.
    """
    total: Counter[int] = Counter()
    places: dict[int, list[Path]] = defaultdict(list)
    values: Counter[int] = Counter()
    for each in maps:
        if not _check_file(each, file, problems, colors):
            continue
        labels = labels_of(each.counts, reduce_zero_label, label_map)
        total += labels
        values.update(each.counts)
        for label in labels:
            places[label].append(each.path)
        if set(labels) == {IGNORED}:
            problems.add(ALL_IGNORED, file, each.path.name)
    is_binary = len(classes) == 2 and values.keys() <= {0, IGNORED} and IGNORED in values
    if is_binary and not reduce_zero_label and not label_map:
        share = values[IGNORED] / values.total()
        problems.add(BINARY, file, f'255 is {share:.1%} of the pixels of {len(maps):,} maps')
        return total
    _check_labels(total, places, classes, file, problems, from_one=not reduce_zero_label)
    _check_use(total, classes, file, problems, trains)
    return total


def _check_file(each: LabelMap, file: str, problems: Problems, colors: Iterable[Color]) -> bool:
    """Report what keeps a map from having one right number a pixel; returns whether it has."""
    name = each.path.name
    if each.fault:
        problems.add(UNREADABLE, file, f'{name}: {each.fault}')
        return False
    if each.channels > 1:
        kind = COLORS_FIXABLE if numbers_of(each, colors) is not None else COLORS
        unknown = [color for color in each.colors if color not in [*colors]]
        what = f', for instance {unknown[0]}' if colors and unknown else ''
        what += f', more than {MOST_COLORS:,} colors' * (not each.colors)
        problems.add(kind, file, f'{name}: {each.channels} channels{what}')
        return False
    if each.path.suffix.lower() in ('.jpg', '.jpeg'):
        problems.add(LOSSY, file, name)
        return False
    wide = [value for value in each.counts if not 0 <= value <= 255 or value != int(value)]
    if wide:
        problems.add(WRAPPED, file, f'{name}: {max(wide)}')
        return False
    return True


def _check_labels(
    total: Counter[int],
    places: Mapping[int, list[Path]],
    classes: Sequence[str],
    file: str,
    problems: Problems,
    from_one: bool,
) -> None:
    """Report labels that are no class."""
    number = len(classes)
    beyond = sorted(label for label in total if number <= label != IGNORED)
    kind = FROM_ONE if from_one and beyond == [number] else BEYOND
    for label in beyond:
        maps = places[label]
        problems.add(
            kind,
            file,
            f'{label} in {len(maps):,} map{"s" * (len(maps) > 1)}, for instance {maps[0].name}, '
            f'{total[label]:,} pixels; there are {number} classes',
        )


def _check_use(
    total: Counter[int], classes: Sequence[str], file: str, problems: Problems, trains: bool
) -> None:
    """Report classes that are never seen, and how much is ignored."""
    if not total:
        return
    for label, name in enumerate(classes):
        if not total[label]:
            problems.add(NEVER_TRAINED if trains else ABSENT, file, f'{label} {name!r}')
    share = total[IGNORED] / total.total()
    if share:
        problems.add(MOSTLY_IGNORED if share > 0.5 else IGNORES, file, f'{share:.1%}')
