"""A corrected copy of an annotation file of poses: what can be mended without guessing a place."""

import copy
from collections.abc import Collection
from pathlib import Path

from ..values import is_number
from .coco_export import Split
from .coco_fix import (
    beside,
    mend_marks,
    mend_names,
    number_anew,
    usable_annotations,
    write_copies,
)
from .keypoint_checks import AREA_SHARE, is_inside, triples
from .layout import FIXED_NAME
from .points import Points
from .pose_export import PoseExport, described


def fix_poses(
    data: dict, image_dir: Path, points: Points, name: str, posed: Collection[str]
) -> tuple[dict, list[str]]:
    """Correct one annotation file.

    Annotations without a usable box, and those of categories that are not ``posed``, are
    dropped; others without points get such of visibility 0. Visibilities become 0, 1 or 2, and 0
    outside the image; ``num_keypoints`` is counted anew; an ``area`` that is missing becomes
    :data:`~mmadapt.datasets.keypoint_checks.AREA_SHARE` of the box. One category is left, of id 1.

    Args:
        data (dict): The file's content; not changed.
        image_dir (Path): The folder of the images.
        points (Points): The points of the data set.
        name (str): What the category is called.
        posed (Collection[str]): The names of the categories of which an object of any split has
            points: those that are kept.

    Returns:
        tuple[dict, list[str]]: The corrected content, and what was done, a line each.
    """
    fixed = copy.deepcopy(data)
    images = {image['id']: image for image in fixed['images']}
    usable, done = usable_annotations(fixed)
    ids = {entry['id'] for entry in fixed['categories'] if entry['name'] in posed}
    kept = [ann for ann in usable if ann['category_id'] in ids]
    if len(kept) < len(usable):
        done.append(
            f'dropped {len(usable) - len(kept)} annotations of categories without keypoints'
        )
    without = [ann for ann in kept if not ann.get('keypoints')]
    for ann in without:
        ann.update(keypoints=[0] * 3 * len(points.names), num_keypoints=0)
    if without:
        done.append(f'gave {len(without)} annotations points of visibility 0')
    done += _mend_points(kept, images) + _mend_areas(kept) + mend_marks(kept, False)
    category = {
        'id': 1,
        'name': name,
        'keypoints': list(points.names),
        'skeleton': [[one + 1, other + 1] for one, other in points.skeleton],
    }
    if {ann['category_id'] for ann in kept} != {1}:
        done.append(f'made one category of all, {name!r} with id 1')
    for ann in kept:
        ann['category_id'] = 1
    done += number_anew(kept) + mend_names(fixed['images'], image_dir)
    return dict(fixed, annotations=kept, categories=[category]), done


def _mend_points(annotations: list[dict], images: dict[int, dict]) -> list[str]:
    """Write visibilities and their counts as COCO has them; returns what was done."""
    outside = odd = uncounted = 0
    for ann in annotations:
        values: list[float] = []
        for x, y, v in triples(ann):
            is_odd, is_out = (
                v not in (0, 1, 2),
                v > 0 and not is_inside(x, y, images[ann['image_id']]),
            )
            odd, outside = odd + is_odd, outside + is_out
            if is_odd:
                v = 2 if v > 0 else 0
            values += [0, 0, 0] if is_out else [x, y, v]
        count = sum(v > 0 for v in values[2::3])
        uncounted += ann.get('num_keypoints') != count
        ann.update(keypoints=values, num_keypoints=count)
    return [
        *[f'wrote the visibility of {odd} points as 0 or 2'] * bool(odd),
        *[f'gave {outside} points outside their image visibility 0'] * bool(outside),
        *[f'counted the points of {uncounted} objects anew'] * bool(uncounted),
    ]


def _mend_areas(annotations: list[dict]) -> list[str]:
    without = [a for a in annotations if not is_number(a.get('area')) or a['area'] <= 0]
    for ann in without:
        ann['area'] = AREA_SHARE * ann['bbox'][2] * ann['bbox'][3]
    return [f'set the area of {len(without)} objects to {AREA_SHARE} x width x height'] * bool(
        without
    )


def write_fixed_poses(
    export: PoseExport, points: Points, overwrite: bool = False
) -> list[tuple[Split, Path, list[str]]]:
    """Write corrected copies beside the annotation files that need one.

    Args:
        export (PoseExport): The export as read, without errors that need a decision.
        points (Points): Its points.
        overwrite (bool): Whether a copy that is there and differs may be replaced.

    Returns:
        list[tuple[Split, Path, list[str]]]: For each copy the split, the file written, and what
        was done.

    Raises:
        UserError: A copy is there and differs; then nothing is written.
        WriteError: If a folder cannot be written or is marked read-only; then nothing is written.
    """
    found = export.problems.found
    # Of all splits: what is an object in one is none to be dropped in another.
    posed = {name for split in export.splits.values() for _, name, _ in described(split)}
    copies = []
    for split in export.splits.values():
        if any(kind.fixable for kind in found.get(str(split.ann_file), ())):
            name = ', '.join(export.classes)
            fixed, done = fix_poses(split.data, split.image_dir, points, name, posed)
            copies.append((split, beside(split, f'pose_{FIXED_NAME}'), fixed, split.done + done))
    write_copies(copies, overwrite)
    return [(split, path, done) for split, path, _, done in copies]
