"""A corrected copy of an annotation file: what can be mended without guessing a label."""

import copy
import json
from functools import partial
from pathlib import Path

from ..errors import WriteError
from ..files.atomic import write_atomically
from ..files.existing import refuse_existing
from .coco_checks import box_fault, is_positive
from .coco_export import CATEGORY_KINDS, Export, Split, parent_category
from .layout import FIXED_NAME, name_on_disk
from .masks import good_parts
from .use_checks import CROWD_BOX, IGNORED_BOX, NUMBERS, number_of


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


def fix_annotations(
    data: dict, categories: list[dict], image_dir: Path | None = None, single_objects: bool = False
) -> tuple[dict, list[str]]:
    """Correct one annotation file.

    Boxes without a pixel in their image are dropped, missing ``area`` and ``iscrowd`` are set,
    parts of masks that cannot be used are dropped, the categories become ``categories``
    (annotations follow by name), annotations are numbered from 1 if an id is 0 or used twice, and
    images are named as they are on disk.

    Args:
        data (dict): The file's content; not changed.
        categories (list[dict]): The categories to list, with ``id`` and ``name``.
        image_dir (Path | None): The folder of the images; None leaves their names.
        single_objects (bool): Whether boxes marked iscrowd or ignore become boxes like others.

    Returns:
        tuple[dict, list[str]]: The corrected content, and what was done, a line each.
    """
    fixed = copy.deepcopy(data)
    images = {image['id']: image for image in fixed['images']}
    usable, done = usable_annotations(fixed)
    without_area = [a for a in usable if not is_positive(a.get('area'))]
    for ann in without_area:
        ann['area'] = ann['bbox'][2] * ann['bbox'][3]
    if without_area:
        done.append(f'set the area of {len(without_area)} boxes to width x height')
    done += mend_marks(usable, single_objects) + _mend_masks(usable, images)
    if fixed['categories'] != categories:
        ids = {c['name']: c['id'] for c in categories}
        names = {c['id']: c['name'] for c in fixed['categories']}
        for ann in usable:
            ann['category_id'] = ids[names[ann['category_id']]]
        fixed['categories'] = copy.deepcopy(categories)
        done.append("listed the training split's classes by ascending id")
    done += number_anew(usable)
    if image_dir is not None:
        done += mend_names(fixed['images'], image_dir)
    fixed['annotations'] = usable
    return fixed, done


def usable_annotations(data: dict) -> tuple[list[dict], list[str]]:
    """Return the annotations that have a usable box in a listed image, and what was done."""
    images = {image['id']: image for image in data['images']}
    usable = [
        ann
        for ann in data['annotations']
        if ann['image_id'] in images and not box_fault(ann['bbox'], images[ann['image_id']])
    ]
    dropped = len(data['annotations']) - len(usable)
    return usable, [f'dropped {dropped} annotations without a usable box in a listed image'] * bool(
        dropped
    )


def number_anew(annotations: list[dict]) -> list[str]:
    """Number annotations from 1 where an id is 0 or used twice; returns what was done."""
    ids = [ann['id'] for ann in annotations]
    if 0 not in ids and len(set(ids)) == len(ids):
        return []
    for number, ann in enumerate(annotations, start=1):
        ann['id'] = number
    return ['numbered the annotations from 1']


def mend_marks(boxes: list[dict], single_objects: bool) -> list[str]:
    """Give boxes iscrowd and ignore as numbers, all 0 where asked; returns what was done."""
    done = []
    without = [box for box in boxes if box.get('iscrowd') is None]
    for box in without:
        box['iscrowd'] = 0
    if without:
        done.append(f'set iscrowd of {len(without)} boxes to 0')
    for key in ('iscrowd', 'ignore'):
        texts = [box for box in boxes if box.get(key) not in NUMBERS]
        for box in texts:
            box[key] = number_of(box[key])
        if texts:
            done.append(f'wrote {key} of {len(texts)} boxes as a number')
        marked = [box for box in boxes if single_objects and box.get(key)]
        for box in marked:
            box[key] = 0
        if marked:
            done.append(f'set {key} of {len(marked)} boxes to 0, as was asked for')
    return done


def _mend_masks(boxes: list[dict], images: dict[int, dict]) -> list[str]:
    partly = lost = 0
    for box in boxes:
        if not box.get('segmentation'):
            continue
        rest = good_parts(box['segmentation'], images[box['image_id']])
        if rest is None:
            del box['segmentation']
            lost += 1
        elif rest != box['segmentation']:
            box['segmentation'] = rest
            partly += 1
    return [f'dropped parts of {partly} masks'] * bool(partly) + [
        f'dropped {lost} masks of which nothing is usable, their boxes stay'
    ] * bool(lost)


def mend_names(images: list[dict], image_dir: Path) -> list[str]:
    """Name images as they are on disk; returns what was done."""
    count = 0
    for image in images:
        name = name_on_disk(image_dir, image['file_name'])
        if name not in (None, image['file_name']):
            image['file_name'] = name
            count += 1
    return [f'named {count} images as they are on disk'] * bool(count)


def write_fixed(
    export: Export, single_objects: bool = False, overwrite: bool = False
) -> list[tuple[Split, Path, list[str]]]:
    """Write corrected copies beside the annotation files that need one.

    Args:
        export (Export): The export as read, without errors that need a decision.
        single_objects (bool): Whether boxes marked iscrowd or ignore become boxes like others.
        overwrite (bool): Whether a copy that is there and differs may be replaced.

    Returns:
        list[tuple[Split, Path, list[str]]]: For each copy the split, the file written, and what
        was done.

    Raises:
        UserError: A copy is there and differs; then nothing is written.
        WriteError: If a folder cannot be written or is marked read-only; then nothing is written.
    """
    categories = canonical_categories(export)
    all_splits = not CATEGORY_KINDS.isdisjoint(export.problems.kinds())
    found = export.problems.found
    copies = []
    for split in export.splits.values():
        kinds = found.get(str(split.ann_file), ())
        marked = single_objects and (CROWD_BOX in kinds or IGNORED_BOX in kinds)
        if not (all_splits or marked or any(k.fixable for k in kinds)):
            continue
        fixed, done = fix_annotations(split.data, categories, split.image_dir, single_objects)
        done = split.done + done
        if done:
            copies.append((split, beside(split, FIXED_NAME), fixed, done))
    write_copies(copies, overwrite)
    return [(split, path, done) for split, path, _, done in copies]


def write_mask_files(export: Export, overwrite: bool = False) -> dict[str, tuple[Path, int]]:
    """Write files without the annotations that have no mask, where others of a split have one.

    Args:
        export (Export): An export in which every mask that is there is usable.
        overwrite (bool): Whether a file that is there and differs may be replaced.

    Returns:
        dict[str, tuple[Path, int]]: By split the file written, and how many annotations it leaves
        out.

    Raises:
        UserError: A file is there and differs; then nothing is written.
        WriteError: If a folder cannot be written or is marked read-only; then nothing is written.
    """
    copies = []
    for split in export.splits.values():
        masked = [ann for ann in split.data['annotations'] if ann.get('segmentation')]
        left_out = len(split.data['annotations']) - len(masked)
        if masked and left_out:
            copies.append(
                (
                    split,
                    beside(split, f'masks_{FIXED_NAME}'),
                    dict(split.data, annotations=masked),
                    left_out,
                )
            )
    write_copies(copies, overwrite)
    return {split.name: (path, left_out) for split, path, _, left_out in copies}


def refuse_read_only(path: Path) -> None:
    """Raise WriteError where a file's folder, or the one that it would be made in, is read-only."""
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    # By the mode, not by trying: root may write anywhere, and should not.
    if not folder.stat().st_mode & 0o222:
        raise WriteError(f'{path} cannot be written: {folder} is marked read-only')


def beside(split: Split, name: str) -> Path:
    """Return where a copy of a split's file is written."""
    # Annotations of all splits may lie in one folder.
    alone = split.ann_file.parent == split.image_dir
    return split.ann_file.with_name(name if alone else f'{split.name}_{name}')


def write_copies(copies: list[tuple], overwrite: bool) -> None:
    """Write the content of each (split, path, content, ...)."""
    texts = {path: json.dumps(content) for _, path, content, *_ in copies}
    for path, text in texts.items():
        refuse_read_only(path)
        # A link leads to another folder's copy, which stays: a new file takes the link's place.
        if not path.is_symlink():
            refuse_existing(overwrite, path, text=text)
    for path, text in texts.items():
        write_atomically(path, partial(_dump, text))


def _dump(text: str, path: str) -> None:
    Path(path).write_text(text, encoding='utf-8')
