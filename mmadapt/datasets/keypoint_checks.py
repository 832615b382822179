"""What must be true of the points in a COCO file for MMPose to train and evaluate on them.

Each check answers to something in the installed sources: `parse_data_info` and
`_is_valid_instance` of mmpose's `BaseCocoStyleDataset`, `YOLOXPoseAnnotationProcessor`, which RTMO
labels by, `CocoMetric`, and `COCOeval` of xtcocotools.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from ..values import is_number
from .problems import Kind, Problems
from .training_use import CROWD

NO_POINTS = Kind(
    'error', 'no annotation has keypoints', 'export them: MMPose leaves out objects without points'
)
NOTHING_VISIBLE = Kind(
    'error',
    'no object has a visible point',
    'MMPose learns from points whose visibility is 1 or 2, of objects that are not marked iscrowd',
)
WITHOUT_POINTS = Kind(
    'error',
    'annotations without keypoints among others that have them',
    "MMPose's evaluation stops at them, after a whole epoch, and training leaves them out, so that "
    'RTMO is taught that nothing is there; mmadapt dataset FOLDER --fix gives them points of '
    'visibility 0, as COCO does, or leaves out a category without points',
    True,
)
OTHER_POINTS = Kind(
    'error',
    'objects with another number of points than the rest of the data set',
    'three numbers a point, x, y and visibility, for all points in their order',
)
UNCOUNTED = Kind(
    'error',
    'objects whose num_keypoints is 0 beside visible points',
    'write how many points have a visibility above 0, or leave the key out: MMPose never trains on '
    'such objects, nor predicts them, and evaluation looks for them; mmadapt dataset FOLDER --fix '
    'writes it',
    True,
)
NO_POINT_AREA = Kind(
    'error',
    'objects without a positive area',
    "MMPose's evaluation stops at them, after a whole epoch, or never finds one right: "
    'use_area=False in the evaluator takes 0.53 x width x height of the box, '
    "COCO's share; mmadapt dataset FOLDER --fix writes that as area",
    True,
)
BAD_VISIBILITY = Kind(
    'error',
    'points whose visibility is below 1 and not 0',
    'MMPose takes it for the weight of a loss, and evaluation what is above 0 for labeled; mmadapt '
    'dataset FOLDER --fix writes 0 for what is not above 0, and 2 for the rest',
    True,
)
ODD_VISIBILITY = Kind(
    'warning',
    'points whose visibility is none of 0, 1 and 2',
    'MMPose takes what is above 1 for visible, other programs may not; --fix writes 2',
    True,
)
UNSEEN = Kind(
    'warning',
    'points with a place and visibility 0',
    'they are neither trained on nor evaluated: 1 is hidden, 2 is visible',
)
POINTS_OUTSIDE = Kind(
    'warning',
    'labeled points outside their image',
    'look at a few: the image may have been resized after labeling; --fix gives them visibility 0',
    True,
)
POINTS_ELSEWHERE = Kind(
    'warning',
    'objects with all labeled points outside their box',
    'look at a few: places in the box, shares of the image, and y before x look like that',
)
OTHER_CATEGORY = Kind(
    'warning',
    'objects of several categories, or of one whose id is not 1',
    'MMPose trains all of them as one kind of object. RTMO stops at another id than 1 or, by what '
    'it calls 1, finds none of them right; models in given boxes average over categories. --fix '
    'makes one category of them, with id 1',
    True,
)
BOX_AREAS = Kind(
    'note',
    'all areas are those of the boxes',
    "of COCO's people it is about half of that, by which AP is lower: figures are not comparable; "
    'use_area=False in the evaluator takes 0.53 of the box',
)
MANY_OBJECTS = Kind(
    'note',
    'images with more than 20 objects',
    'AP of poses is computed from the 20 best of an image and cannot reach 1 there',
)
# COCO's people cover about half of their boxes: what MMPose and xtcocotools take without an area.
AREA_SHARE = 0.53


def points_of(annotation: Mapping) -> int | None:
    """The number of points that an annotation has.

    Args:
        annotation (dict): An entry of a COCO file.

    Returns:
        int | None: A third of the length of ``keypoints``; None where there are none, or not three
        numbers a point.
    """
    values = annotation.get('keypoints')
    if not isinstance(values, list) or not values or len(values) % 3:
        return None
    return len(values) // 3 if all(map(is_number, values)) else None


def number_of_points(annotations: Sequence[dict]) -> int | None:
    """Return how many points most annotations have, None where none has any."""
    counts = [count for count in map(points_of, annotations) if count is not None]
    return max(set(counts), key=counts.count) if counts else None


def why_unused(annotation: Mapping) -> str | None:
    """Why MMPose learns nothing from an annotation and evaluates nothing by it; None if it does."""
    if not points_of(annotation):
        return 'without points'
    if annotation.get('iscrowd'):
        return CROWD
    return None if any(v > 0 for v in annotation['keypoints'][2::3]) else 'without a visible point'


def check_keypoints(
    annotations: Sequence[dict], points: int, file: str, problems: Problems
) -> None:
    """Report objects that MMPose would leave out or stop at.

    Args:
        annotations (Sequence[dict]): Those of a COCO file.
        points (int): How many points the data set says an object has.
        file (str): The file's name for messages.
        problems (Problems): Takes what is found.
    """
    with_points = [annotation for annotation in annotations if annotation.get('keypoints')]
    if not with_points:
        problems.add(NO_POINTS, file)
        return
    used = False
    for annotation in annotations:
        where = f'annotation {annotation.get("id")}'
        if not annotation.get('keypoints'):
            problems.add(WITHOUT_POINTS, file, where)
            continue
        if points_of(annotation) != points:
            numbers = annotation['keypoints']
            length = len(numbers) if isinstance(numbers, list) else numbers
            problems.add(
                OTHER_POINTS, file, f'{where}: keypoints has {length} values, not {3 * points}'
            )
            continue
        seen = annotation['keypoints'][2::3]
        visible = sum(value > 0 for value in seen)
        if visible and annotation.get('num_keypoints') == 0:
            problems.add(UNCOUNTED, file, f'{where}: {visible} visible')
        odd = [value for value in seen if value not in (0, 1, 2)]
        for value in odd[:1]:
            is_weight = not all(value > 1 for value in odd)
            problems.add(BAD_VISIBILITY if is_weight else ODD_VISIBILITY, file, f'{where}: {value}')
        if not is_number(annotation.get('area')) or annotation['area'] <= 0:
            problems.add(NO_POINT_AREA, file, where)
        used |= why_unused(annotation) is None
    if not used and OTHER_POINTS not in problems.found.get(file, {}):
        problems.add(NOTHING_VISIBLE, file)


def check_places(
    annotations: Sequence[dict], images: Mapping[int, dict], file: str, problems: Problems
) -> None:
    """Report points that are where they cannot be.

    Args:
        annotations (Sequence[dict]): Those of a COCO file with a usable box, of images in it.
        images (dict[int, dict]): Image entries by id.
        file (str): The file's name for messages.
        problems (Problems): Takes what is found.
    """
    for annotation in filter(points_of, annotations):
        image, (left, top, wide, high) = images[annotation['image_id']], annotation['bbox']
        where = f'annotation {annotation.get("id")}, {image["file_name"]}'
        places = triples(annotation)
        unseen = sum(v == 0 and (x, y) != (0, 0) for x, y, v in places)
        if unseen:
            problems.add(UNSEEN, file, f'{where}: {unseen} of {len(places)}')
        labeled = [(x, y) for x, y, v in places if v > 0]
        for x, y in [place for place in labeled if not is_inside(*place, image)][:1]:
            problems.add(
                POINTS_OUTSIDE, file, f'{where}: {x}, {y} in {image["width"]} x {image["height"]}'
            )
        in_box = (
            left - 1 <= x <= left + wide + 1 and top - 1 <= y <= top + high + 1 for x, y in labeled
        )
        if labeled and not any(in_box):
            problems.add(POINTS_ELSEWHERE, file, f'{where}: bbox {annotation["bbox"]}')


def check_areas(annotations: Sequence[dict], file: str, problems: Problems) -> None:
    """Report areas that are the boxes', as tools for boxes write them."""
    known = [a for a in annotations if is_number(a.get('area')) and points_of(a)]
    same = [abs(a['area'] - a['bbox'][2] * a['bbox'][3]) <= 1e-3 * a['area'] for a in known]
    if same and all(same):
        problems.add(BOX_AREAS, file)


def check_crowded(
    annotations: Sequence[dict], images: Mapping[int, dict], file: str, problems: Problems
) -> None:
    """Report images of an evaluated split with more objects than AP of poses looks at."""
    for image_id, count in Counter(a['image_id'] for a in annotations).items():
        if count > 20:
            problems.add(MANY_OBJECTS, file, f'{images[image_id]["file_name"]}: {count} objects')


def other_categories(annotations: Sequence[dict], names: Mapping[int, str]) -> str | None:
    """Name the categories of objects that RTMO cannot be trained on, or not be evaluated by.

    Args:
        annotations (Sequence[dict]): Those of a COCO file.
        names (Mapping[int, str]): The categories of the file by their ids.

    Returns:
        str | None: What objects with points there are; None where all are of category 1.
    """
    ids = Counter(a['category_id'] for a in annotations if points_of(a))
    if set(ids) <= {1}:
        return None
    return ', '.join(f'{count:,} of {i} {names.get(i)!r}' for i, count in ids.items())


def triples(annotation: Mapping) -> list[tuple[float, float, float]]:
    """Return x, y and visibility of each point of an annotation."""
    values = annotation['keypoints']
    return list(zip(values[::3], values[1::3], values[2::3], strict=True))


def is_inside(x: float, y: float, image: Mapping) -> bool:
    """Return whether a place is in an image, or less than a pixel beside it."""
    return -1 <= x <= image['width'] + 1 and -1 <= y <= image['height'] + 1
