"""A corrected copy of an annotation file: what can be mended without guessing a label."""

import copy
import json
from pathlib import Path

from .coco_checks import box_fault, is_positive
from .coco_export import CATEGORY_KINDS, Export, Split, parent_category
from .layout import FIXED_NAME


def canonical_categories(export: Export) -> list[dict]:
    """The categories that every split should list.

    Args:
        export (Export): The export as read.

    Returns:
        list[dict]: The training split's categories by ascending id, without Roboflow's unused
        parent category when it was dropped from the classes.
    """
    train = export.splits['train']
    parent = parent_category(list(export.splits.values())) if export.dropped else None
    kept = [c for c in train.data['categories'] if c['id'] != parent]
    return sorted(kept, key=lambda c: c['id'])


def fix_annotations(data: dict, categories: list[dict]) -> tuple[dict, list[str]]:
    """Correct one annotation file.

    Boxes without a pixel in their image are dropped, missing ``area`` and ``iscrowd`` are set,
    the categories become ``categories`` (annotations follow by name), and annotations are
    numbered from 1 if an id is 0 or used twice.

    Args:
        data (dict): The file's content; not changed.
        categories (list[dict]): The categories to list, with ``id`` and ``name``.

    Returns:
        tuple[dict, list[str]]: The corrected content, and what was done, a line each.
    """
    fixed = copy.deepcopy(data)
    done = []
    images = {image['id']: image for image in fixed['images']}
    usable = [
        ann for ann in fixed['annotations']
        if ann['image_id'] in images and not box_fault(ann['bbox'], images[ann['image_id']])
    ]
    dropped = len(fixed['annotations']) - len(usable)
    if dropped:
        done.append(f'dropped {dropped} annotations without a usable box in a listed image')
    without_area = [a for a in usable if not is_positive(a.get('area'))]
    for ann in without_area:
        ann['area'] = ann['bbox'][2] * ann['bbox'][3]
    if without_area:
        done.append(f'set the area of {len(without_area)} boxes to width x height')
    without_crowd = [a for a in usable if 'iscrowd' not in a]
    for ann in without_crowd:
        ann['iscrowd'] = 0
    if without_crowd:
        done.append(f'set iscrowd of {len(without_crowd)} boxes to 0')
    if fixed['categories'] != categories:
        ids = {c['name']: c['id'] for c in categories}
        names = {c['id']: c['name'] for c in fixed['categories']}
        for ann in usable:
            ann['category_id'] = ids[names[ann['category_id']]]
        fixed['categories'] = copy.deepcopy(categories)
        done.append("listed the training split's classes by ascending id")
    box_ids = [ann['id'] for ann in usable]
    if 0 in box_ids or len(set(box_ids)) < len(box_ids):
        for number, ann in enumerate(usable, start=1):
            ann['id'] = number
        done.append('numbered the annotations from 1')
    fixed['annotations'] = usable
    return fixed, done


def write_fixed(export: Export) -> list[tuple[Split, Path, list[str]]]:
    """Write corrected copies beside the annotation files that need one.

    Args:
        export (Export): The export as read, without errors that need a decision.

    Returns:
        list[tuple[Split, Path, list[str]]]: For each copy the split, the file written, and what
        was done.

    Raises:
        OSError: If a folder cannot be written or is marked read-only; then nothing is written.
    """
    categories = canonical_categories(export)
    all_splits = not CATEGORY_KINDS.isdisjoint(export.problems.kinds())
    found = export.problems.found
    copies = []
    for split in export.splits.values():
        if not (all_splits or any(k.fixable for k in found.get(str(split.ann_file), ()))):
            continue
        # Annotations of all splits may lie in one folder.
        alone = split.ann_file.parent == split.image_dir
        path = split.ann_file.with_name(FIXED_NAME if alone else f'{split.name}_{FIXED_NAME}')
        fixed, done = fix_annotations(split.data, categories)
        if done:
            copies.append((split, path, fixed, done))
    for _, path, _, _ in copies:
        # By the mode, not by trying: root may write anywhere, and should not.
        if not path.parent.stat().st_mode & 0o222:
            raise PermissionError(f'{path.parent} is marked read-only')
    for _, path, fixed, _ in copies:
        # A link of this name leads to another folder's copy, which is not ours to change.
        path.unlink(missing_ok=True)
        path.write_text(json.dumps(fixed), encoding='utf-8')
    return [(split, path, done) for split, path, _, done in copies]
