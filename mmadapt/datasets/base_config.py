"""The text of a `_base_` data set file, which composes with any stock config.

MMEngine refuses two `_base_` files that define the same top-level name, so every name in the file
begins with the data set's own; the leaf config binds them.
"""

import re
from collections.abc import Iterable
from math import gcd
from pathlib import Path
from pprint import pformat
from typing import Any

from .coco_export import Export, Split

SPLIT_ORDER = ('train', 'val', 'test')
_STRENGTHS = ((1.0, 1.0), (0.45, 1.0), (1.0, 0.6))  # saturation and brightness


def variable_prefix(name: str) -> str:
    """Return a name as the beginning of a Python name: 'Face-Det v2' gives 'face_det_v2'."""
    prefix = re.sub('[^0-9a-z]+', '_', name.lower()).strip('_')
    return f'data_{prefix}' if not prefix or prefix[0].isdigit() else prefix


def distinct_palette(num_classes: int) -> list[tuple[int, int, int]]:
    """Colors to draw the classes in, as far apart as their number allows.

    Args:
        num_classes (int): Number of colors, at least 1.

    Returns:
        list[tuple[int, int, int]]: RGB colors, 0 to 255: matplotlib's qualitative maps up to
        20 classes, evenly spaced hues of three strengths beyond.
    """
    from matplotlib import colormaps
    from matplotlib.colors import hsv_to_rgb

    if num_classes <= 20:
        listed: Any = colormaps['tab10' if num_classes <= 10 else 'tab20']
        colors = listed.colors[:num_classes]
    else:
        # Neighbors in the circle of hues differ in strength too, and classes that follow each other
        # are no neighbors.
        circle = num_classes + -num_classes % len(_STRENGTHS)
        step = next(s for s in range(round(0.38 * circle), 0, -1) if gcd(s, circle) == 1)
        places = [index * step % circle for index in range(num_classes)]
        colors = [hsv_to_rgb((p / circle, *_STRENGTHS[p % len(_STRENGTHS)])) for p in places]
    return [tuple(round(255 * part) for part in color) for color in colors]


def in_comments(lines: Iterable[str], margin: str = '') -> str:
    """Return lines as comments of Python, whatever is in them.

    Names of classes come out of files of others: behind a line break in one, what follows would be
    Python that runs.

    Args:
        lines (Iterable[str]): The lines.
        margin (str): What stands before each. Defaults to ''.
    """
    return '\n'.join(
        f'# {margin}' + ''.join(c if c.isprintable() else repr(c)[1:-1] for c in line)
        for line in lines
    )


def count_table(export: Export) -> list[str]:
    """Return boxes by class and split as aligned lines, with the images below."""
    splits = [export.splits[name] for name in SPLIT_ORDER if name in export.splits]
    rows = [('class', *(split.name for split in splits))]
    rows += [
        (name, *(f'{split.class_counts[name]:,}' for split in splits)) for name in export.classes
    ]
    rows.append(('boxes', *(f'{num_boxes(split, export.classes):,}' for split in splits)))
    if any(split.left_out for split in splits):
        rows.append(('left out', *(f'{num_left_out(split):,}' for split in splits)))
    rows.append(('images', *(f'{len(split.images):,}' for split in splits)))
    rows.append(('images without boxes', *(f'{split.num_empty:,}' for split in splits)))
    first = max(len(row[0]) for row in rows)
    return [f'{row[0]:<{first}}' + ''.join(f'{cell:>10}' for cell in row[1:]) for row in rows]


def num_boxes(split: Split, classes: tuple[str, ...]) -> int:
    """Return the number of boxes of the given classes that are trained on or evaluated."""
    return sum(split.class_counts[name] for name in classes)


def num_left_out(split: Split) -> int:
    """Return the number of usable boxes that are left out: marked, or too small."""
    return sum(map(len, split.left_out.values()))


def relative(path: Path, folder: Path) -> str:
    """Return a path below the data root, with the slash that marks a folder."""
    text = path.relative_to(folder).as_posix()
    if text == '.':
        return ''
    return f'{text}/' if path.is_dir() else text


def wrapped(values: tuple | list, margin: str) -> str:
    """Return a literal, over several lines with a margin where one is too short."""
    text = pformat(values, width=88, compact=True)
    lines = [line.strip() for line in text[1:-1].splitlines()]
    if len(lines) == 1:
        return text
    return f'{text[0]}\n{margin}' + f'\n{margin}'.join(lines) + text[-1]


def _dataset(variable: str, prefix: str, split: Split, export: Export) -> str:
    lines = [
        f'{variable} = dict(',
        "    type='CocoDataset',",
        f'    data_root={prefix}_data_root,',
        f'    ann_file={relative(split.ann_file, export.folder)!r},',
        f'    data_prefix=dict(img={relative(split.image_dir, export.folder)!r}),',
        f'    metainfo={prefix}_metainfo,',
    ]
    if split.name == 'train':
        lines += [
            '    # Images without boxes teach what is not an object; none is left out silently.',
            '    filter_cfg=dict(filter_empty_gt=False, min_size=0))',
        ]
    else:
        lines.append('    test_mode=True)')
    return '\n'.join(lines)


def render(
    export: Export,
    prefix: str,
    data_root: str,
    command: str,
    mask_files: dict[str, Path] | None = None,
) -> str:
    """Write the file's text.

    Args:
        export (Export): An export without errors.
        prefix (str): What every name begins with, see :func:`variable_prefix`.
        data_root (str): The data set folder as the config should name it, ending in '/'.
        command (str): The command that makes the file, for its header.
        mask_files (dict[str, Path] | None): By split an annotation file in which every annotation
            has a usable mask; then the file also has the names for training and evaluating masks.

    Returns:
        str: Python source.
    """
    splits = dict(export.splits)
    has_test = 'test' in splits
    counts = in_comments(count_table(export), '  ')
    classes = wrapped(export.classes, ' ' * 4)
    palette = wrapped(distinct_palette(len(export.classes)), ' ' * 8)
    parts = [
        f'# Data set {prefix} in COCO format; the leaf config binds these names to its loaders.\n'
        f'{in_comments([f"Made by: {command}"])}\n#\n{counts}',
        f'{prefix}_data_root = {data_root!r}\n'
        f'{prefix}_classes = {classes}\n'
        f'{prefix}_num_classes = {len(export.classes)}\n'
        f'{prefix}_metainfo = dict(\n    classes={prefix}_classes,\n    palette={palette})',
        _dataset(f'{prefix}_train', prefix, splits['train'], export),
        _dataset(f'{prefix}_val', prefix, splits['val'], export),
        _dataset(f'{prefix}_test', prefix, splits['test'], export)
        if has_test
        else f'{prefix}_test = {prefix}_val',
        _evaluator(f'{prefix}_val_evaluator', prefix, splits['val'], export),
        _evaluator(f'{prefix}_test_evaluator', prefix, splits['test'], export)
        if has_test
        else f'{prefix}_test_evaluator = {prefix}_val_evaluator',
    ]
    if mask_files:
        parts += _mask_parts(prefix, export, mask_files)
    return '\n\n'.join(parts) + '\n'


def _evaluator(variable: str, prefix: str, split: Split, export: Export) -> str:
    ann_file = relative(split.ann_file, export.folder)
    return (
        f"{variable} = dict(\n    type='CocoMetric',\n"
        f"    ann_file={prefix}_data_root + {ann_file!r},\n    metric='bbox')"
    )


def _mask_parts(prefix: str, export: Export, mask_files: dict[str, Path]) -> list[str]:
    """The same data sets and evaluators for models that predict masks too."""
    datasets, evaluators = [], []
    for name, path in mask_files.items():
        ann_file = relative(path, export.folder)
        same = path == export.splits[name].ann_file
        datasets.append(
            f'{prefix}_masks_{name} = '
            + (f'{prefix}_{name}' if same else f'dict({prefix}_{name}, ann_file={ann_file!r})')
        )
        if name != 'train':
            evaluators.append(
                f'{prefix}_masks_{name}_evaluator = dict(\n    {prefix}_{name}_evaluator,\n'
                f"    ann_file={prefix}_data_root + {ann_file!r},\n    metric=['bbox', 'segm'])"
            )
    if 'test' not in mask_files:
        datasets.append(f'{prefix}_masks_test = {prefix}_masks_val')
        evaluators.append(f'{prefix}_masks_test_evaluator = {prefix}_masks_val_evaluator')
    head = '# The same for models that predict masks: every annotation has one.\n'
    return [head + '\n'.join(datasets), '\n'.join(evaluators)]


def lines_to_paste(prefix: str, out: Path, masks: bool) -> list[str]:
    """The lines with which a config of a stock model takes the data set.

    Args:
        prefix (str): What every name in the file begins with.
        out (Path): The file.
        masks (bool): Whether the names for masks are meant.

    Returns:
        list[str]: Lines of Python.
    """
    names = f'{prefix}_masks' if masks else prefix
    stock = (
        'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'
        if masks
        else 'rtmdet/rtmdet_tiny_8xb32-300e_coco.py'
    )
    count = f'num_classes=_base_.{prefix}_num_classes'
    head = (
        f'roi_head=dict(bbox_head=dict({count}), mask_head=dict({count}))'
        if masks
        else f'bbox_head=dict({count})'
    )
    return [
        f"_base_ = ['mmdet::{stock}', {str(out.resolve())!r}]",
        *(f'{loop}_dataloader = dict(dataset=_base_.{names}_{loop})' for loop in SPLIT_ORDER),
        *(f'{loop}_evaluator = _base_.{names}_{loop}_evaluator' for loop in SPLIT_ORDER[1:]),
        f'model = dict({head})',
    ]
