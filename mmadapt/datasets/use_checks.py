"""Boxes and masks that are in a file and not in training or evaluation: shown apart."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from .masks import NO_MASK, good_parts, mask_fault
from .problems import Kind, Problems
from .training_use import CROWD, IGNORED, listed, why_untrained

CROWD_BOX = Kind(
    'warning',
    'boxes marked iscrowd',
    'MMDetection never trains on them and evaluation leaves them out; where they are '
    'single objects, --fix-ignored says so in a copy',
    False,
)
IGNORED_BOX = Kind(
    'warning',
    'boxes marked ignore',
    'MMDetection never trains on them, and evaluation counts them; where they are '
    'objects like others, --fix-ignored says so in a copy',
    False,
)
BAD_MARK = Kind(
    'error',
    'iscrowd or ignore that is neither 0 nor 1',
    'a text counts as 1, also "0"; --fix writes numbers',
    True,
)
NOTHING_ELSE = Kind(
    'error',
    'nothing else than boxes that are left out',
    'a run would learn nothing there and end well; where they are single objects, '
    '--fix-ignored says so in a copy',
    False,
)
NO_MASKS = Kind(
    'warning',
    'annotations without a mask among others that have one',
    'good for boxes, but training of masks stops at them; --fix writes a second file '
    'without them for masks',
    True,
)
BAD_MASKS = Kind(
    'warning',
    'masks that are not usable or not in all their parts',
    'training of masks ignores them or stops, evaluation of masks stops; --fix drops '
    'the bad parts, and the mask where nothing is left: the box stays',
    True,
)
MANY_BOXES = Kind(
    'note',
    'images with more than 100 boxes',
    'bbox_mAP is computed from the 100 best detections of an image and cannot reach '
    '1 there; bbox_mAP_50 and the others take 1000',
)
NUMBERS = (None, 0, 1)  # False and True are equal to 0 and 1


def number_of(mark) -> int | None:
    """Return what a mark is meant to be: 0 for the text '0', too."""
    if mark in NUMBERS:
        return mark
    return int(str(mark).strip().lower() not in ('0', '0.0', 'false', 'no', ''))


def mended(box: dict) -> dict:
    """Return a box as --fix leaves it: its marks are numbers, and its area is positive."""
    return dict(box, area=1, **{key: number_of(box.get(key)) for key in ('iscrowd', 'ignore')})


def check_marks(boxes: list[dict], images: dict[int, dict], file: str, problems: Problems) -> None:
    """Report boxes that are marked to be left out.

    Args:
        boxes (list[dict]): Annotations that have a usable box.
        images (dict[int, dict]): Image entries by id.
        file (str): The file's name for messages.
        problems (Problems): Takes what is found.
    """
    for box in boxes:
        where = f'{images[box["image_id"]]["file_name"]}: bbox {box["bbox"]}'
        for key in ('iscrowd', 'ignore'):
            if box.get(key) not in NUMBERS:
                problems.add(BAD_MARK, file, f'{where}, {key} {box[key]!r}')
        reason = why_untrained(mended(box), images[box['image_id']])
        if reason in (CROWD, IGNORED):
            problems.add(CROWD_BOX if reason == CROWD else IGNORED_BOX, file, where)


def check_left(
    all_counts: Counter,
    counts: Counter,
    reasons: Mapping[Any, list[str]],
    file: str,
    problems: Problems,
) -> None:
    """Report a split or a class of which every box is left out.

    Args:
        all_counts (Counter): Boxes by class.
        counts (Counter): Those that are not left out.
        reasons (Mapping[str, list[str]]): Why the others are, by class.
        file (str): The file's name for messages.
        problems (Problems): Takes what is found.
    """
    if all_counts and not counts.total():
        problems.add(NOTHING_ELSE, file, f'the whole split: {listed(sum(reasons.values(), []))}')
        return
    for name in all_counts:
        if not counts[name]:
            problems.add(NOTHING_ELSE, file, f'{name!r}: {listed(reasons[name])}')


def check_masks(boxes: list[dict], images: dict[int, dict], file: str, problems: Problems) -> bool:
    """Report masks that cannot be used, in a file that has masks.

    Args:
        boxes (list[dict]): Annotations that have a usable box.
        images (dict[int, dict]): Image entries by id.
        file (str): The file's name for messages.
        problems (Problems): Takes what is found.

    Returns:
        bool: Whether every one of these annotations has a mask that is usable as it is.
    """
    faults = [(box, mask_fault(box.get('segmentation'), images[box['image_id']])) for box in boxes]
    if all(fault == NO_MASK for _, fault in faults):
        return False
    for box, fault in faults:
        if not fault:
            continue
        image = images[box['image_id']]
        where = f'{image["file_name"]}: bbox {box["bbox"]}'
        if fault == NO_MASK:
            problems.add(NO_MASKS, file, where)
        else:
            rest = good_parts(box['segmentation'], image)
            problems.add(BAD_MASKS, file, f'{where}: {fault}{"" if rest else ", and nothing else"}')
    return not any(fault for _, fault in faults)


def check_many(boxes: list[dict], images: dict[int, dict], file: str, problems: Problems) -> None:
    """Report images of an evaluated split with more boxes than bbox_mAP looks at."""
    for image_id, count in Counter(box['image_id'] for box in boxes).items():
        if count > 100:
            problems.add(MANY_BOXES, file, f'{images[image_id]["file_name"]}: {count} boxes')
