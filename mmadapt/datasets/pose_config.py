"""The text of a `_base_` data set file of poses, and the lines that bind it to stock models."""

from pathlib import Path

from .base_config import (
    SPLIT_ORDER,
    distinct_palette,
    in_comments,
    num_left_out,
    relative,
    wrapped,
)
from .coco_export import Split
from .marks import Color
from .points import Points, body_half
from .pose_export import PoseExport, PoseSplit

_LINE = [127, 127, 127]


def point_colors(points: Points) -> list[Color]:
    """Return a color for each point, RGB from 0 to 255: pale is the other of a pair."""
    others = {other: one for one, other in points.pairs}
    single = [name for name in points.names if name not in others]
    # Up to 20 colors are pale and dark in turn.
    count = len(single) if len(single) <= 10 else max(len(single), 21)
    hues = dict(zip(single, distinct_palette(count), strict=False))
    return [_pale(hues[others[name]]) if name in others else hues[name] for name in points.names]


def _pale(color: Color) -> Color:
    red, green, blue = (round(0.4 * part + 0.6 * 255) for part in color)
    return red, green, blue


def point_rows(export: PoseExport, points: Points) -> list[tuple[str, ...]]:
    """Return labeled points by name and split, with a head, and objects and images below.

    Args:
        export (PoseExport): An export of which the points are known.
        points (Points): The points.

    Returns:
        list[tuple[str, ...]]: Rows of cells; of labeled points that are hidden it says how many.
    """
    splits = [export.splits[name] for name in SPLIT_ORDER if name in export.splits]
    rows = [('point', *(split.name for split in splits))]
    for index, name in enumerate(points.names):
        rows.append((name, *(_labeled(split, index) for split in splits)))
    rows.append(('objects', *(f'{len(split.counted):,}' for split in splits)))
    if any(split.left_out for split in splits):
        rows.append(('left out', *(f'{num_left_out(split):,}' for split in splits)))
    rows.append(('images', *(f'{len(split.images):,}' for split in splits)))
    rows.append(('images without objects', *(f'{split.num_empty:,}' for split in splits)))
    return rows


def _labeled(split: Split, index: int) -> str:
    assert isinstance(split, PoseSplit)
    counts = split.point_counts
    seen = counts[index] if index < len(counts) else {}
    hidden, visible = seen.get(1, 0), seen.get(2, 0)
    return f'{hidden + visible:,}' + f' ({hidden:,} hidden)' * bool(hidden)


def render_poses(
    export: PoseExport, points: Points, prefix: str, data_root: str, command: str
) -> str:
    """Write the file's text.

    Args:
        export (PoseExport): An export without errors.
        points (Points): Its points.
        prefix (str): What every name begins with but one, see
            :func:`~mmadapt.datasets.base_config.variable_prefix`.
        data_root (str): The data set folder as the config should name it, ending in '/'.
        command (str): The command that makes the file, for its header.

    Returns:
        str: Python source.
    """
    rows = point_rows(export, points)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    counts = [
        '  '.join(
            f'{cell:<{w}}' if not column else f'{cell:>{w}}'
            for column, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    table = in_comments(counts, '  ')
    parts = [
        f"# Poses of {prefix} in COCO's keypoint format; the leaf config binds these names to its "
        f'loaders.\n{in_comments([f"Made by: {command}"])}\n#\n{table}',
        f'{prefix}_data_root = {data_root!r}\n{prefix}_num_points = {len(points.names)}\n'
        '# MMPose reads the next name where its RTMO is given this file. A point whose `swap` is '
        "another's\n# name changes places with it when an image is flipped.\n"
        f'{_dataset_info(points, prefix)}\n{prefix}_metainfo = dataset_info',
        *(_dataset(prefix, export, name) for name in SPLIT_ORDER),
        *(_evaluator(prefix, export, name) for name in SPLIT_ORDER[1:]),
    ]
    return '\n\n'.join(parts) + '\n'


def _dataset_info(points: Points, prefix: str) -> str:
    swaps = points.swaps
    described = [
        f'{index}: dict(id={index}, name={name!r}, swap={swaps.get(name, "")!r}, '
        f'color={list(color)}, type={body_half(name)!r}),'
        for index, (name, color) in enumerate(zip(points.names, point_colors(points), strict=True))
    ]
    lines = [
        f'{index}: dict(id={index}, link={(points.names[one], points.names[other])!r}, '
        f'color={_LINE}),'
        for index, (one, other) in enumerate(points.skeleton)
    ]
    margin, newline = '\n        ', '\n    '
    return (
        'dataset_info = dict(\n'
        f'    dataset_name={prefix!r},\n'
        f'    keypoint_info={{{margin}{margin.join(described)}\n    }},\n'
        f'    skeleton_info={{{margin + margin.join(lines) if lines else ""}'
        f'{newline * bool(lines)}}},\n'
        f'    joint_weights={wrapped([1.0] * len(points.names), margin[1:])},\n'
        "    # By how much of the square root of an object's area annotators differ; AP depends on "
        'it.\n'
        f'    sigmas={wrapped(list(points.sigmas), margin[1:])})'
    )


def _dataset(prefix: str, export: PoseExport, name: str) -> str:
    split = export.splits.get(name)
    if split is None:
        return f'{prefix}_{name} = {prefix}_val'
    lines = [
        f'{prefix}_{name} = dict(',
        "    type='CocoDataset',",
        f'    data_root={prefix}_data_root,',
        f'    ann_file={relative(split.ann_file, export.folder)!r},',
        f'    data_prefix=dict(img={relative(split.image_dir, export.folder)!r}),',
    ]
    if name == 'train':
        return '\n'.join([*lines, f'    metainfo={prefix}_metainfo)'])
    return '\n'.join(
        [
            *lines,
            "    bbox_file=None,  # boxes of the annotations; a detector's are in the stock "
            "file's place",
            f'    metainfo={prefix}_metainfo,',
            '    test_mode=True)',
        ]
    )


def _evaluator(prefix: str, export: PoseExport, name: str) -> str:
    split = export.splits.get(name)
    if split is None:
        return f'{prefix}_{name}_evaluator = {prefix}_val_evaluator'
    return (
        f"{prefix}_{name}_evaluator = dict(\n    type='CocoMetric',\n"
        '    # Never left out: MMPose then takes the file of whichever data set was built last.\n'
        f'    ann_file={prefix}_data_root + {relative(split.ann_file, export.folder)!r},\n'
        "    # Of detections below a threshold, as those of a new head are, the file's order is "
        'the rank.\n'
        '    keypoint_score_thr=0.)'
    )


def pose_lines_to_paste(prefix: str, out: Path, in_boxes: bool) -> list[str]:
    """The lines with which a config of a stock model takes the data set.

    Args:
        prefix (str): What every name in the file begins with.
        out (Path): The file.
        in_boxes (bool): Whether the model finds points in boxes that are given, as RTMPose does, or
            finds the objects itself, as RTMO does.

    Returns:
        list[str]: Lines of Python.
    """
    file = repr(str(out.resolve()))
    count = f'_base_.{prefix}_num_points'
    lines = [
        *(f'{loop}_dataloader = dict(dataset=_base_.{prefix}_{loop})' for loop in SPLIT_ORDER),
        *(f'{loop}_evaluator = _base_.{prefix}_{loop}_evaluator' for loop in SPLIT_ORDER[1:]),
    ]
    if in_boxes:
        stock = 'topdown_heatmap/coco/td-hm_hrnet-w32_8xb64-210e_coco-256x192.py'
        head = f'out_channels={count}'
    else:
        stock = 'rtmo/coco/rtmo-s_8xb32-600e_coco-640x640.py'
        head = (
            f'num_keypoints={count}, loss_oks=dict(metainfo={file}), '
            f'assigner=dict(oks_calculator=dict(metainfo={file}))'
        )
    return [
        f"_base_ = ['mmpose::body_2d_keypoint/{stock}', {file}]",
        *lines,
        f'model = dict(head=dict({head}))',
    ]
