"""Which boxes of a COCO file MMDetection trains on: those that `parse_data_info` keeps."""

from collections import Counter
from collections.abc import Iterable

CROWD, IGNORED, TINY, OUTSIDE = (
    'marked iscrowd',
    'marked ignore',
    'narrower or lower than a pixel, or without area',
    'outside their image',
)


def why_untrained(annotation: dict, image: dict) -> str | None:
    """Why a box of one of the classes is not trained on.

    Args:
        annotation (dict): An annotation with a ``bbox`` of four numbers.
        image (dict): The image's entry, with ``width`` and ``height``.

    Returns:
        str | None: The reason; None where the box is trained on. Of these, evaluation leaves out
        what is :data:`CROWD` and counts the rest as objects to be found.
    """
    # Any mark but 0, False, None and '' is one: also the text '0'.
    if annotation.get('ignore'):
        return IGNORED
    x, y, w, h = annotation['bbox']
    if min(x + w, image['width']) <= max(x, 0) or min(y + h, image['height']) <= max(y, 0):
        return OUTSIDE
    area = annotation.get('area')
    if (isinstance(area, (int, float)) and area <= 0) or w < 1 or h < 1:
        return TINY
    return CROWD if annotation.get('iscrowd') else None


def listed(reasons: Iterable[str]) -> str:
    """Return reasons with their numbers, the most frequent first: '12 marked iscrowd, 1 ...'."""
    return ', '.join(f'{count:,} {reason}' for reason, count in Counter(reasons).most_common())
