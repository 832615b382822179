"""What must be true of the points in a COCO file for MMPose to train and evaluate on them.

Each check answers to something in the installed sources: `parse_data_info` and
`_is_valid_instance` of mmpose's `BaseCocoStyleDataset`, `COCOeval.computeOks` of xtcocotools.
"""

from collections.abc import Sequence

from ..values import is_number
from .problems import Kind, Problems

NO_POINTS = Kind(
    'error', 'no annotation has keypoints', 'export them: MMPose leaves out objects without points'
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
    'such objects, nor predicts them, and evaluation looks for them',
    True,
)
NO_POINT_AREA = Kind(
    'error',
    'objects without area',
    "MMPose's evaluation stops at them, after a whole epoch: use_area=False in the evaluator takes "
    "0.53 x width x height of the box, COCO's share; so may area in the file",
    True,
)


def points_of(annotation: dict) -> int | None:
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
    for annotation in with_points:
        where = f'annotation {annotation.get("id")}'
        count = points_of(annotation)
        if count != points:
            numbers = annotation['keypoints']
            length = len(numbers) if isinstance(numbers, list) else numbers
            problems.add(
                OTHER_POINTS, file, f'{where}: keypoints has {length} values, not {3 * points}'
            )
            continue
        visible = sum(value > 0 for value in annotation['keypoints'][2::3])
        if visible and annotation.get('num_keypoints') == 0:
            problems.add(UNCOUNTED, file, f'{where}: {visible} visible')
        if not is_number(annotation.get('area')):
            problems.add(NO_POINT_AREA, file, where)
