"""A COCO or Roboflow export, read and checked as a whole: all splits, their classes, all problems.

MMDetection gives labels by the order in which a file lists its categories (`get_cat_ids` keeps
the file's order, whatever the order of ``metainfo['classes']``). So the classes of a data set are
the training file's categories in their listed order, and every other split has to list the same
names in the same order, or its labels mean something else.
"""

import copy
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..values import close_names
from .coco_checks import check_annotations, check_categories, check_images, read_json
from .coco_ids import whole_ids
from .image_checks import check_image_files, check_unlisted
from .layout import find_annotations, find_image_dir
from .leaks import check_leaks
from .likeness import Likeness
from .problems import Kind, Problems
from .training_use import CROWD, why_untrained
from .use_checks import check_left, check_many, check_marks, check_masks, mended

DUPLICATE_NAME = Kind(
    'error',
    'category names used twice',
    'rename or merge them: MMDetection finds categories by name',
)
DUPLICATE_CATEGORY_ID = Kind('error', 'category ids used twice', 'give each category its own id')
PARENT_SHARES_NAME = Kind(
    'error',
    'the unused parent category has the name of a class',
    'MMDetection would take both and count one class too many; --fix removes the parent',
    True,
)
OTHER_CATEGORIES = Kind(
    'error',
    'categories that differ from the training split',
    'MMDetection labels by the order of this list, so labels would be wrong; --fix gives the file '
    "the training split's categories",
    True,
)
FOREIGN_CATEGORY = Kind(
    'error',
    'boxes of categories that the training split lacks',
    'rename the category or take the boxes out',
)
OTHER_IDS = Kind(
    'note',
    'category ids differ from the training split',
    'harmless to MMDetection, which goes by name and order',
)
UNSORTED = Kind(
    'warning',
    'categories are not listed by ascending id',
    'CocoMetric(classwise=True) would print figures beside the wrong names; --fix sorts them',
    True,
)
PARENT_DROPPED = Kind(
    'note', "Roboflow's parent category, used by no box, is not a class", '--keep-unused keeps it'
)
UNUSED = Kind('warning', 'categories that no box of any split uses', 'they stay classes')
UNUSED_IN_TRAIN = Kind('warning', 'categories that no training box uses', 'they cannot be learned')
NO_TEST = Kind('note', 'no test split', 'the test data set is the validation split')
# Mended in all splits or in none, since they are compared with each other.
CATEGORY_KINDS = frozenset([PARENT_SHARES_NAME, OTHER_CATEGORIES, UNSORTED])


@dataclass
class Split:
    """One split of an export.

    Args:
        name (str): 'train', 'val' or 'test'.
        ann_file (Path): Its annotation file.
        image_dir (Path): The folder to which its file names are relative.
        data (dict): The content of the annotation file, its ids whole numbers.
        images (dict[int, dict]): Image entries by id.
        boxes (list[dict]): Annotations that have a usable box.
        categories (dict[int, str]): Category names by id, in the file's order.
        done (list[str]): What was done to the content to have whole numbers, a line each.
        text_ids (Sequence[str]): The ids of images that the file has as text.
        has_masks (bool): Whether every usable box has a usable mask; not looked for by default.
    """

    name: str
    ann_file: Path
    image_dir: Path
    data: dict
    images: dict[int, dict]
    boxes: list[dict]
    categories: dict[int, str]
    done: list[str]
    text_ids: Sequence[str] = ()
    has_masks: bool = False

    @cached_property
    def left_out(self) -> dict[str | None, list[str]]:
        """dict: Why boxes are not trained on or evaluated, by category name."""
        reasons: dict[str | None, list[str]] = defaultdict(list)
        for box in self.boxes:
            reason = self.why_left_out(box)
            if reason:
                reasons[self.categories.get(box['category_id'])].append(reason)
        return reasons

    @cached_property
    def counted(self) -> list[dict]:
        """list[dict]: The usable boxes that MMDetection trains on, or that are evaluated."""
        return [box for box in self.boxes if not self.why_left_out(box)]

    def why_left_out(self, box: dict) -> str | None:
        """Return why a box is neither trained on nor evaluated, None where it is."""
        # What --fix mends is an error of its own.
        reason = why_untrained(mended(box), self.images[box['image_id']])
        # Evaluation counts the others as objects to be found.
        return reason if self.name == 'train' or reason == CROWD else None

    @cached_property
    def all_counts(self) -> Counter:
        """Counter: Usable boxes by category name, those that are left out too."""
        return Counter(self.categories.get(box['category_id']) for box in self.boxes)

    @cached_property
    def class_counts(self) -> Counter:
        """Counter: Boxes that are trained on or evaluated, by category name."""
        return Counter(self.categories.get(box['category_id']) for box in self.counted)

    @cached_property
    def num_empty(self) -> int:
        """int: Images without a box that is trained on or evaluated."""
        return len(self.images.keys() - {box['image_id'] for box in self.counted})

    @cached_property
    def box_sizes(self) -> Counter:
        """Counter: Boxes by COCO's sizes: S under 32 x 32 pixels of area, L over 96 x 96."""
        areas = (box['bbox'][2] * box['bbox'][3] for box in self.counted)
        return Counter('S' if a < 32**2 else 'M' if a <= 96**2 else 'L' for a in areas)


@dataclass
class Export:
    """An export as read from disk.

    Args:
        folder (Path): The data set folder.
        splits (dict[str, Split]): The splits that could be read.
        classes (tuple[str, ...]): Class names in the order of their labels.
        dropped (tuple[str, ...]): Categories that were left out of the classes.
        problems (Problems): Everything that was found.
    """

    folder: Path
    splits: dict[str, Split]
    classes: tuple[str, ...]
    dropped: tuple[str, ...]
    problems: Problems


def read_export(
    folder: Path,
    ann_files: dict[str, str | None] | None = None,
    splits: Sequence[str] = ('train', 'val', 'test'),
    keep_unused: bool = False,
    known: Problems | None = None,
) -> Export:
    """Read and check an export.

    Args:
        folder (Path): The data set folder.
        ann_files (dict[str, str | None] | None): Annotation files by split where the usual
            places do not decide.
        splits (Sequence[str]): The splits to read.
        keep_unused (bool): Whether Roboflow's unused parent category stays a class.
        known (Problems | None): What was found before, of which the result has a copy.

    Returns:
        Export: What was found; its ``problems`` say whether it can be used.
    """
    folder = Path(folder)
    problems = copy.deepcopy(known) if known else Problems()
    files = find_annotations(folder, ann_files or {}, splits, problems)
    found = {}
    for name, path in files.items():
        split = read_split(folder, name, path, problems)
        if split is not None:
            found[name] = split
            _check_boxes(split, problems)
    classes: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    if 'train' in found:
        classes, dropped = _choose_classes(found, keep_unused, problems)
        for split in found.values():
            _compare_categories(split, found['train'], classes, problems)
    check_files(found, problems)
    if 'val' in found and 'test' in splits and 'test' not in files and not problems.has_errors:
        problems.add(NO_TEST, str(folder))
    return Export(folder, found, classes, dropped, problems)


def read_split(
    folder: Path, name: str, path: Path, problems: Problems, kind: type[Split] = Split
) -> Split | None:
    """Read a split and check what must be true of it whatever it is for.

    Args:
        folder (Path): The data set folder.
        name (str): 'train', 'val' or 'test'.
        path (Path): Its annotation file.
        problems (Problems): Takes what is found.
        kind (type[Split]): What is made of it; a subclass finds points in boxes.

    Returns:
        Split | None: The split, None where the file cannot be read.
    """
    file = str(path)
    data = read_json(path, file, problems)
    if data is None:
        return None
    ids_there = [image.get('id') for image in data['images'] if isinstance(image, dict)]
    texts = [value for value in ids_there if isinstance(value, str)]
    data, done = whole_ids(data, file, problems)
    ids = Counter(c.get('id') for c in data['categories'] if isinstance(c, dict))
    for cat_id in (i for i, count in ids.items() if count > 1 and i is not None):
        problems.add(DUPLICATE_CATEGORY_ID, file, f'id {cat_id}')
    categories = check_categories(data, file, problems)
    images = check_images(data, file, problems)
    evaluated, alone = name != 'train', kind is Split
    boxes = check_annotations(data, images, categories, evaluated, file, problems, alone)
    names = [image['file_name'] for image in images.values()]
    image_dir = find_image_dir(folder, name, path, names)
    return kind(name, path, image_dir, data, images, boxes, categories, done, texts)


def _check_boxes(split: Split, problems: Problems) -> None:
    """Report what only those learn from who learn from boxes and masks."""
    file = str(split.ann_file)
    check_marks(split.boxes, split.images, file, problems)
    if split.name != 'train':
        check_many(split.boxes, split.images, file, problems)
    split.has_masks = check_masks(split.boxes, split.images, file, problems)
    check_left(split.all_counts, split.class_counts, split.left_out, file, problems)


def parent_category(splits: Sequence[Split]) -> int | None:
    """The id of Roboflow's parent category.

    Roboflow writes the project's group of classes as a category of its own, with the lowest id;
    the classes name it as their ``supercategory`` and no box uses it.

    Args:
        splits (Sequence[Split]): All splits, training first.

    Returns:
        int | None: The id in the training file, or None when there is no such category.
    """
    entries = [c for c in splits[0].data['categories'] if isinstance(c, dict)]
    ids = [c['id'] for c in entries if c.get('id') in splits[0].categories]
    if len(ids) < 2:
        return None
    lowest = min(ids)
    name = splits[0].categories[lowest]
    children = [c for c in entries if c.get('supercategory') == name and c.get('id') != lowest]
    used = any(
        box['category_id'] == lowest and split.categories.get(lowest) == name
        for split in splits
        for box in split.boxes
    )
    return lowest if children and not used else None


def _choose_classes(
    splits: dict[str, Split], keep_unused: bool, problems: Problems
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Decide which categories of the training file are classes; returns (classes, dropped)."""
    train = splits['train']
    file = str(train.ann_file)
    parent = None if keep_unused else parent_category(list(splits.values()))
    classes = tuple(name for cat_id, name in train.categories.items() if cat_id != parent)
    for name in (n for n, count in Counter(classes).items() if count > 1):
        problems.add(DUPLICATE_NAME, file, repr(name))
    if parent is not None:
        name = train.categories[parent]
        problems.add(PARENT_DROPPED, file, f'id {parent}, {name!r}')
        if name in classes:
            problems.add(PARENT_SHARES_NAME, file, repr(name))
    used: Counter[str] = Counter()
    for split in splits.values():
        used += split.all_counts
    for name in classes:
        if not used[name]:
            problems.add(UNUSED, file, repr(name))
        elif not train.all_counts[name]:
            problems.add(UNUSED_IN_TRAIN, file, repr(name))
    ids = [cat_id for cat_id in train.categories if cat_id != parent]
    if ids != sorted(ids):
        problems.add(UNSORTED, file, ', '.join(f'{i} {train.categories[i]}' for i in ids))
    return classes, () if parent is None else (train.categories[parent],)


def _compare_categories(
    split: Split, train: Split, classes: tuple[str, ...], problems: Problems
) -> None:
    """Report where a split's labels would not mean what the training split's mean."""
    if split is train:
        return
    file = str(split.ann_file)
    listed = tuple(name for name in split.categories.values() if name in classes)
    if listed != classes:
        problems.add(
            OTHER_CATEGORIES,
            file,
            f'lists {", ".join(listed) or "none"} instead of {", ".join(classes)}',
        )
    for name in split.all_counts.keys() - set(train.categories.values()) - {None}:
        near = close_names(name, classes)
        hint = f'; did you mean {near[0]!r}?' if near else ''
        problems.add(FOREIGN_CATEGORY, file, f'{name!r}, {split.all_counts[name]} boxes{hint}')
    ids = {name: cat_id for cat_id, name in train.categories.items()}
    for cat_id, name in split.categories.items():
        if name in classes and ids[name] != cat_id:
            problems.add(OTHER_IDS, file, f'{name!r}: {cat_id}, there {ids[name]}')


def check_files(splits: Mapping[str, Split], problems: Problems) -> None:
    """Check the images themselves, and whether two splits share one."""
    present: dict[str, dict[Path, Likeness | None]] = {}
    listed: dict[Path, set[Path]] = {}
    for split in splits.values():
        images = list(split.images.values())
        present[split.name] = check_image_files(
            images, split.image_dir, str(split.ann_file), problems
        )
        listed.setdefault(split.image_dir, set()).update(present[split.name])
    check_unlisted(listed, problems)
    check_leaks(present, problems)
