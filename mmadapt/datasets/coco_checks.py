"""What must be true of one COCO annotation file for MMDetection to train and evaluate on it.

Each check answers to something in the installed sources: `CocoDataset.load_data_list` and
`parse_data_info` of mmdet, `COCO.createIndex` and `COCOeval` of pycocotools.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ..values import is_integer, is_number
from .problems import Kind, Problems

UNREADABLE = Kind('error', 'not a JSON file', 'export it again')
NOT_COCO = Kind(
    'error',
    'not in COCO detection format',
    'a COCO file is an object with the lists images, annotations, categories',
)
MISSING_KEY = Kind('error', 'keys missing or of the wrong type', 'export it again')
DUPLICATE_IMAGE_ID = Kind(
    'error', 'image ids used twice', 'give every image its own id: all but the last are lost'
)
DUPLICATE_FILE_NAME = Kind(
    'error',
    'images listed twice',
    'merge the entries: the boxes of one are background in the other',
)
DUPLICATE_BOX_ID = Kind(
    'error',
    'annotation ids used twice',
    'MMDetection stops at them, MMPose evaluates the last of them alone; --fix numbers them anew',
    True,
)
ZERO_BOX_ID = Kind(
    'warning',
    'an annotation has id 0',
    'COCO evaluation takes 0 for "not matched": a detection of this box counts as a false '
    'positive; --fix numbers the annotations from 1',
    True,
)
NO_AREA = Kind(
    'error',
    'boxes without a positive area key',
    'MMDetection stops at them or drops them; --fix sets width x height',
    True,
)
NO_CROWD = Kind('error', 'boxes without iscrowd', 'COCO evaluation stops; --fix sets 0', True)
BAD_BOX = Kind(
    'error', 'boxes that are not four finite numbers', 'correct them; --fix drops them', True
)
EMPTY_BOX = Kind(
    'error', 'boxes without a positive width and height', 'correct them; --fix drops them', True
)
OUTSIDE = Kind('error', 'boxes wholly outside their image', 'correct them; --fix drops them', True)
PARTLY_OUTSIDE = Kind(
    'warning',
    'boxes that reach over their image by more than a pixel',
    'look at a few: the image may have been resized after labeling',
)
TINY_BOX = Kind(
    'warning',
    'boxes narrower or lower than a pixel',
    'MMDetection leaves them out of training, evaluation counts them',
)
UNLISTED_IMAGE = Kind(
    'warning', 'annotations of images that are not listed', 'MMDetection ignores them'
)
UNDECLARED = Kind(
    'error',
    'boxes of categories that are not declared',
    'declare the category or correct the boxes',
)
NO_IMAGES = Kind('error', 'the split has no images', 'export it again')
NO_BOXES = Kind('error', 'the split has no boxes', 'label it, or leave the split out')


def read_json(path: Path, file: str, problems: Problems) -> dict | None:
    """Read an annotation file.

    Args:
        path (Path): The file.
        file (str): Its name for messages.
        problems (Problems): Takes what is wrong.

    Returns:
        dict | None: The content with its three lists, or None when it is not COCO format.
    """
    try:
        data = json.loads(path.read_text(encoding='utf-8'))
    except json.JSONDecodeError as error:
        problems.add(UNREADABLE, file, f'line {error.lineno}, column {error.colno}: {error.msg}')
        return None
    except (OSError, UnicodeDecodeError) as error:
        problems.add(UNREADABLE, file, str(error))
        return None
    if not isinstance(data, dict):
        problems.add(NOT_COCO, file, f'the file holds a {type(data).__name__}')
        return None
    lists = ('images', 'annotations', 'categories')
    wrong = [key for key in lists if not isinstance(data.get(key), list)]
    for key in wrong:
        problems.add(NOT_COCO, file, f'no list {key!r}; the keys are {", ".join(data) or "none"}')
    return None if wrong else data


def is_positive(value) -> bool:
    """Return whether a JSON value is a number above 0."""
    return is_number(value) and value > 0


def _well_formed(
    data: dict, key: str, needs: dict, file: str, problems: Problems
) -> Iterator[tuple[str, dict]]:
    """Yield (place, entry) for entries with the needed keys; report the others."""
    for index, entry in enumerate(data[key]):
        place = f'{key}[{index}]'
        if not isinstance(entry, dict):
            problems.add(MISSING_KEY, file, f'{place} is not an object')
            continue
        wrong = [name for name, is_good in needs.items() if not is_good(entry.get(name))]
        for name in wrong:
            said = f'is {entry[name]!r}' if name in entry else 'is missing'
            problems.add(MISSING_KEY, file, f'{place}: {name} {said}')
        if not wrong:
            yield place, entry


def check_categories(data: dict, file: str, problems: Problems) -> dict[int, str]:
    """Return category names by id, for the entries that are well formed."""
    needs = dict(id=is_integer, name=lambda v: isinstance(v, str) and bool(v))
    return {c['id']: c['name'] for _, c in _well_formed(data, 'categories', needs, file, problems)}


def check_images(data: dict, file: str, problems: Problems) -> dict[int, dict]:
    """Return image entries by id, for the entries that are well formed."""
    needs = dict(
        id=is_integer,
        file_name=lambda v: isinstance(v, str) and bool(v),
        width=is_positive,
        height=is_positive,
    )
    images: dict[int, dict] = {}
    names: dict[str, str] = {}
    for place, image in _well_formed(data, 'images', needs, file, problems):
        if image['id'] in images:
            problems.add(
                DUPLICATE_IMAGE_ID,
                file,
                f'{place}: id {image["id"]}, also of {images[image["id"]]["file_name"]}',
            )
        if image['file_name'] in names:
            problems.add(
                DUPLICATE_FILE_NAME,
                file,
                f'{image["file_name"]}: ids {names[image["file_name"]]}, {image["id"]}',
            )
        images[image['id']] = image
        names[image['file_name']] = image['id']
    if not data['images']:
        problems.add(NO_IMAGES, file)
    return images


def box_fault(box, image: dict) -> tuple[Kind, str] | None:
    """The fault that makes a box unusable.

    Args:
        box: What the annotation has under ``bbox``: x, y, width, height in pixels.
        image (dict): The image's entry, with ``width`` and ``height``.

    Returns:
        tuple[Kind, str] | None: The kind and what to say about it; None for a usable box.
    """
    if not (
        isinstance(box, list)
        and len(box) == 4
        and all(map(is_number, box))
        and all(map(math.isfinite, box))
    ):
        return BAD_BOX, f'bbox {box}'
    x, y, w, h = box
    if w <= 0 or h <= 0:
        return EMPTY_BOX, f'bbox {box}'
    if x >= image['width'] or y >= image['height'] or x + w <= 0 or y + h <= 0:
        return OUTSIDE, f'bbox {box} in {image["width"]} x {image["height"]}'
    return None


def check_annotations(
    data: dict,
    images: dict[int, dict],
    categories: dict[int, str],
    evaluated: bool,
    file: str,
    problems: Problems,
    alone: bool = True,
) -> list[dict]:
    """Check the boxes.

    Args:
        data (dict): The file's content.
        images (dict[int, dict]): Image entries by id.
        categories (dict[int, str]): Category names by id.
        evaluated (bool): Whether COCO evaluation will read the file (validation and test).
        file (str): The file's name for messages.
        problems (Problems): Takes what is wrong.
        alone (bool): Whether boxes are what MMDetection trains on, not what MMPose finds points in.

    Returns:
        list[dict]: The annotations that have a usable box.
    """
    needs = dict(
        id=is_integer, image_id=is_integer, category_id=is_integer, bbox=lambda v: v is not None
    )
    good = []
    ids: Counter[int] = Counter()
    for place, ann in _well_formed(data, 'annotations', needs, file, problems):
        ids[ann['id']] += 1
        image = images.get(ann['image_id'])
        if image is None:
            problems.add(UNLISTED_IMAGE, file, f'{place}: image_id {ann["image_id"]}')
            continue
        where = f'{place}, {image["file_name"]}'
        if ann['id'] == 0 and evaluated and alone:
            problems.add(ZERO_BOX_ID, file, where)
        if ann['category_id'] not in categories:
            problems.add(UNDECLARED, file, f'{where}: category_id {ann["category_id"]}')
        fault = box_fault(ann['bbox'], image)
        if fault:
            problems.add(fault[0], file, f'{where}: {fault[1]}')
            continue
        x, y, w, h = ann['bbox']
        if min(x, y) < -1 or x + w > image['width'] + 1 or y + h > image['height'] + 1:
            problems.add(
                PARTLY_OUTSIDE,
                file,
                f'{where}: bbox {ann["bbox"]} in {image["width"]} x {image["height"]}',
            )
        if min(w, h) < 1 and alone:
            problems.add(TINY_BOX, file, f'{where}: bbox {ann["bbox"]}')
        if not is_positive(ann.get('area')) and alone:
            problems.add(NO_AREA, file, f'{where}: area {ann.get("area")}')
        if ann.get('iscrowd') is None and evaluated:
            problems.add(NO_CROWD, file, where)
        good.append(ann)
    for ann_id, count in ids.items():
        if count > 1:
            problems.add(DUPLICATE_BOX_ID, file, f'id {ann_id}, {count} times')
    if data['images'] and not data['annotations']:
        problems.add(NO_BOXES, file)
    return good
