"""Tiny data sets of poses in COCO format: faces of three points."""

from pathlib import Path

from coco_files import box, coco, write_split

NAMES = ('left_eye', 'right_eye', 'nose')
LINES = [[1, 2], [1, 3], [2, 3]]
PLACES = [8, 10, 2, 20, 10, 2, 14, 16, 1]


def face(number: int, image: int = 1, **changes) -> dict:
    """Return an annotation of one face; a change to None takes the key away."""
    own = dict(area=212, keypoints=PLACES, num_keypoints=3)
    return box(number, image, **{**own, **changes})


def poses(annotations: list, images: int = 2, categories: list | None = None, **changes) -> dict:
    """Return the content of a file of faces; a change is one of its category."""
    own = dict(id=1, name='face', keypoints=list(NAMES), skeleton=LINES)
    own = {key: value for key, value in {**own, **changes}.items() if value is not None}
    return dict(coco(annotations, images), categories=categories or [own])


def write_poses(folder: Path, train: dict | None = None, val: dict | None = None) -> Path:
    """Write a data set of two splits, of two faces each by default."""
    right = poses([face(1), face(2, 2)])
    val = val or right
    others = [dict(image, file_name=f'v{image["file_name"]}') for image in val['images']]
    write_split(folder / 'train', train or right, seed=9)
    write_split(folder / 'validation', dict(val, images=others), seed=99)
    return folder
