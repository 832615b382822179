"""A COCO export of poses, read and checked as a whole: its points, its splits, all problems.

MMPose reads no names, no skeleton and no categories of these files: what they say of the points is
taken from the training split, and has to be true of the other splits.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from ..values import nearest
from .coco_export import NO_TEST, Export, Split, check_files, read_split
from .keypoint_checks import (
    OTHER_CATEGORY,
    check_areas,
    check_crowded,
    check_keypoints,
    check_places,
    number_of_points,
    other_categories,
    points_of,
    why_unused,
)
from .layout import find_annotations
from .points import (
    Points,
    default_sigmas,
    names_of,
    pairs_by_name,
    read_pairs,
    read_sigmas,
    read_skeleton,
)
from .problems import Kind, Problems
from .use_checks import BAD_MARK, NUMBERS, number_of

NO_NAMES = Kind(
    'error',
    'no names of the points',
    'give --keypoints NAME,NAME,... in the order of the file: by left and right in them points '
    'change places in mirrored images',
)
OTHER_NUMBER = Kind(
    'error',
    'another number of names than objects have points',
    'correct the list, or give --keypoints NAME,NAME,... with a name for each point',
)
DUPLICATE_POINT = Kind(
    'error',
    'names of points used twice',
    'MMPose finds points by name: rename them, or give --keypoints NAME,NAME,...',
)
OTHER_NAMES = Kind(
    'error',
    'names of points that differ from the first category of the training split',
    'MMPose reads no names and takes all objects for the same points in the same order: where they '
    'are, give --keypoints NAME,NAME,...; where not, export one data set for each kind',
)
BAD_LINES = Kind(
    'warning',
    'lines of the skeleton that join no two points',
    'they are left out, and only drawn anyway; COCO counts points from 1',
)
FROM_ZERO = Kind(
    'note',
    'a skeleton that counts points from 0',
    'COCO counts from 1; it was taken as it is meant, see the lines that --show draws',
)
ONE_SIDE = Kind(
    'warning',
    'points called left or right without one of the other side',
    'MMPose leaves them in place in mirrored images and teaches one side for the other: correct '
    'the names, or give --flip-pairs A:B,C:D',
)
NO_SIDES = Kind(
    'warning',
    'no points that change places in mirrored images',
    'where there are any, give --flip-pairs A:B,C:D; where there are none, --flip-pairs none',
)
TEXT_IDS = Kind(
    'error',
    'ids of images that are text',
    'MMPose computes with them and stops; --fix writes whole numbers',
    True,
)


class PoseSplit(Split):
    """One split of an export of poses: boxes with points in them."""

    def why_left_out(self, box: dict) -> str | None:
        """Return why MMPose learns nothing from an object, None where it does."""
        return why_unused(dict(box, iscrowd=number_of(box.get('iscrowd'))))

    @cached_property
    def point_counts(self) -> list[Counter]:
        """list[Counter]: Of each point how often its visibility is 0, 1 and 2, in used objects."""
        seen = [box['keypoints'][2::3] for box in self.counted]
        return [Counter(values) for values in zip(*seen, strict=False)]


@dataclass
class PoseExport(Export):
    """An export of poses as read from disk.

    Args:
        points (Points | None): What is known of the points; None where they are not understood.
    """

    points: Points | None = None


@dataclass(frozen=True)
class Said:
    """What was typed of the points.

    Args:
        names (tuple[str, ...]): By --keypoints; none leaves it to the file.
        pairs (str | None): What stands behind --flip-pairs.
        sigmas (str | None): What stands behind --sigmas.
    """

    names: tuple[str, ...] = ()
    pairs: str | None = None
    sigmas: str | None = None


def read_pose_export(
    folder: Path,
    ann_files: dict[str, str | None] | None = None,
    splits: Sequence[str] = ('train', 'val', 'test'),
    said: Said = Said(),
) -> PoseExport:
    """Read and check an export of poses.

    Args:
        folder (Path): The data set folder.
        ann_files (dict[str, str | None] | None): Annotation files by split where the usual
            places do not decide.
        splits (Sequence[str]): The splits to read.
        said (Said): What was typed of the points.

    Returns:
        PoseExport: What was found; its ``problems`` say whether it can be used.

    Raises:
        UserError: What was typed does not fit the points.
    """
    problems = Problems()
    files = find_annotations(Path(folder), ann_files or {}, splits, problems)
    found: dict[str, Split] = {}
    for name, path in files.items():
        split = read_split(folder, name, path, problems, PoseSplit)
        if split is not None:
            found[name] = split
    classes: tuple[str, ...] = ()
    points = None
    if 'train' in found:
        count = number_of_points(found['train'].boxes) or 0
        for split in found.values():
            _check_split(split, count, problems)
        classes = tuple(dict.fromkeys(name for _, name, _ in described(found['train'])))
        points = _find_points(found, count, said, problems)
    check_files(found, problems)
    if 'val' in found and 'test' in splits and 'test' not in files and not problems.has_errors:
        problems.add(NO_TEST, str(folder))
    return PoseExport(Path(folder), found, classes, (), problems, points)


def _check_split(split: Split, count: int, problems: Problems) -> None:
    file = str(split.ann_file)
    # MMPose takes the remainder of an image's id.
    if split.text_ids:
        count, first = len(split.text_ids), split.text_ids[0]
        problems.add(TEXT_IDS, file, f'{count:,} of {len(split.images):,}, for instance {first!r}')
    if not split.boxes:
        return  # said already
    for box in split.boxes:
        if box.get('iscrowd') not in NUMBERS:
            problems.add(BAD_MARK, file, f'annotation {box["id"]}, iscrowd {box["iscrowd"]!r}')
    check_keypoints(split.boxes, count, file, problems)
    check_places(split.boxes, split.images, file, problems)
    check_areas(split.boxes, file, problems)
    others = other_categories(split.boxes, split.categories)
    if others:
        problems.add(OTHER_CATEGORY, file, others)
    if split.name != 'train':
        check_crowded(split.boxes, split.images, file, problems)


def described(split: Split) -> Iterator[tuple[int, str, Mapping]]:
    """Yield id, name and entry of a split's categories whose objects have points."""
    used = {box['category_id'] for box in split.boxes if points_of(box)}
    for entry in split.data['categories']:
        if isinstance(entry, dict) and entry.get('id') in used & split.categories.keys():
            yield entry['id'], entry['name'], entry


def _find_points(
    splits: Mapping[str, Split], count: int, said: Said, problems: Problems
) -> Points | None:
    """Return what the training split and the user say of the points, and report what is wrong."""
    train = splits['train']
    file = str(train.ann_file)
    entries = [entry for _, _, entry in described(train)]
    lists = [names for names in map(names_of, entries) if names]
    names = said.names or next(iter(lists), ())
    if not count:
        return None
    if not names:
        problems.add(NO_NAMES, file, f'objects have {count} points')
        return None
    place = '--keypoints' if said.names else file
    if len(names) != count:
        problems.add(OTHER_NUMBER, place, f'{len(names)} names, {count} points')
        return None
    twice = [name for name, number in Counter(names).items() if number > 1]
    for name in twice:
        problems.add(DUPLICATE_POINT, place, repr(name))
    if not said.names:
        for split in splits.values():
            _compare_names(split, names, problems)
    if twice:
        return None
    skeleton, wrong, from_zero = read_skeleton(
        next((entry['skeleton'] for entry in entries if entry.get('skeleton')), None), count
    )
    for line in wrong:
        problems.add(BAD_LINES, file, f'{line} of {count} points')
    if from_zero:
        problems.add(FROM_ZERO, file)
    points = Points(names, skeleton=skeleton)
    return replace(
        points,
        pairs=_find_pairs(names, said.pairs, place, problems),
        sigmas=read_sigmas(said.sigmas, names) if said.sigmas else default_sigmas(names),
    )


def _compare_names(split: Split, names: tuple[str, ...], problems: Problems) -> None:
    for _, category, entry in described(split):
        other = names_of(entry)
        if other in (None, names):
            continue
        unknown = [name for name in other or () if name not in names]
        hint = (
            f'{unknown[0]!r} is no point there; nearest: {nearest(unknown[0], names)}'
            if unknown
            else f'{", ".join(other or ())} instead of {", ".join(names)}'
        )
        problems.add(OTHER_NAMES, str(split.ann_file), f'category {category!r}: {hint}')


def _find_pairs(
    names: tuple[str, ...], typed: str | None, file: str, problems: Problems
) -> tuple[tuple[str, str], ...]:
    if typed:
        return read_pairs(typed, names)
    pairs, alone = pairs_by_name(names)
    for name in alone:
        problems.add(ONE_SIDE, file, repr(name))
    if not pairs and not alone and len(names) > 1:
        problems.add(NO_SIDES, file, ', '.join(names))
    return pairs
