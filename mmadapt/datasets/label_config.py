"""The text of a `_base_` data set file for label maps or folders of classes.

Its names are those of :mod:`mmadapt.datasets.base_config`, so that it binds to a leaf config as a
file for boxes does.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from .base_config import SPLIT_ORDER, in_comments, relative, wrapped
from .class_folders import ClassExport, ClassSplit
from .label_export import LabelExport, MapSplit

SEG_STOCK = 'mmseg::segformer/segformer_mit-b0_8xb1-160k_cityscapes-1024x1024.py'
CLS_STOCK = 'mmpretrain::resnet/resnet18_8xb32_in1k.py'


def rows_of(export: LabelExport | ClassExport) -> tuple[str, list[tuple[str, ...]]]:
    """Count pixels, or images, by class and split.

    Args:
        export (LabelExport or ClassExport): The data set.

    Returns:
        tuple[str, list[tuple[str, ...]]]: What is counted, and rows of cells: the names of the
        splits, the classes, what is ignored, and the images.
    """
    names = [name for name in SPLIT_ORDER if name in export.splits]
    rows: list[tuple[str, ...]] = [('class', *names)]
    if isinstance(export, ClassExport):
        counts = [export.splits[name].counts for name in names]
        rows += [(cls, *(f'{count[cls]:,}' for count in counts)) for cls in export.classes]
        rows.append(('images', *(f'{count.total():,}' for count in counts)))
        return 'images by class', rows
    splits = [export.splits[name] for name in names]
    rows += [
        (cls, *(f'{split.pixels[label]:,}' for split in splits))
        for label, cls in enumerate(export.classes)
    ]
    if export.classes:  # else the values have no meaning yet
        rows.append(('ignored', *(f'{split.ignored:.1%}' for split in splits)))
    rows.append(('images', *(f'{len(split.maps):,}' for split in splits)))
    return 'pixels by class', rows


def render_labels(
    export: LabelExport | ClassExport, prefix: str, data_root: str, command: str
) -> str:
    """Write the file's text.

    Args:
        export (LabelExport or ClassExport): A data set without errors.
        prefix (str): What every name begins with.
        data_root (str): The data set folder as the config should name it, ending in '/'.
        command (str): The command that makes the file, for its header.

    Returns:
        str: Python source.
    """
    what, rows = rows_of(export)
    first = max(len(row[0]) for row in rows)
    table = [f'{row[0]:<{first}}' + ''.join(f'{cell:>15}' for cell in row[1:]) for row in rows]
    meta = f'classes={prefix}_classes'
    evaluator = "type='Accuracy', topk=(1, )"
    if isinstance(export, LabelExport):
        meta = f'\n    {meta},\n    palette={wrapped(export.palette, " " * 8)}'
        evaluator = "type='IoUMetric', iou_metrics=['mIoU']"
    datasets = [
        f'{prefix}_{name} = {_dataset(export, name, prefix)}'
        if name in export.splits
        else f'{prefix}_{name} = {prefix}_val'
        for name in SPLIT_ORDER
    ]
    counts = in_comments(table, '  ')
    return '\n\n'.join(
        [
            f'# Data set {prefix}, {what}; the leaf config binds these names to its loaders.\n'
            f'{in_comments([f"Made by: {command}"])}\n#\n{counts}',
            f'{prefix}_data_root = {data_root!r}\n'
            f'{prefix}_classes = {wrapped(export.classes, " " * 4)}\n'
            f'{prefix}_num_classes = {len(export.classes)}\n'
            f'{prefix}_metainfo = dict({meta})',
            *datasets,
            f'{prefix}_val_evaluator = dict({evaluator})\n'
            f'{prefix}_test_evaluator = {prefix}_val_evaluator\n',
        ]
    )


def _dataset(export: LabelExport | ClassExport, name: str, prefix: str) -> str:
    """Return the config of one split as Python."""
    if isinstance(export, ClassExport):
        lines = _class_lines(export.splits[name], export.folder, export.extensions)
    else:
        lines = _map_lines(export.splits[name], export.folder, export.reduce_zero_label)
    lines.insert(1, f'data_root={prefix}_data_root')
    lines.append(f'metainfo={prefix}_metainfo')
    if name != 'train':
        lines.append('test_mode=True')
    return 'dict(\n    ' + ',\n    '.join(lines) + ')'


def _map_lines(split: MapSplit, folder: Path, reduce_zero_label: bool) -> list[str]:
    images = relative(split.folder.image_dir, folder)
    maps = relative(split.folder.map_dir, folder)
    listed = split.folder.list_file
    return [
        "type='BaseSegDataset'",
        *([] if listed is None else [f'ann_file={relative(listed, folder)!r}']),
        f'data_prefix=dict(img_path={images!r}, seg_map_path={maps!r})',
        f'img_suffix={split.pairs.img_suffix!r}',
        f'seg_map_suffix={split.pairs.seg_map_suffix!r}',
        f'reduce_zero_label={reduce_zero_label}',
    ]


def _class_lines(split: ClassSplit, folder: Path, extensions: Sequence[str]) -> list[str]:
    return [
        "type='CustomDataset'",
        f'data_prefix={relative(split.folder, folder)!r}',
        *([f'extensions={tuple(extensions)!r}'] if extensions else []),
    ]


def label_lines_to_paste(export: LabelExport | ClassExport, prefix: str, out: Path) -> list[str]:
    """The lines with which a config of a stock model takes the data set.

    Args:
        export (LabelExport or ClassExport): The data set.
        prefix (str): What every name in the file begins with.
        out (Path): The file.

    Returns:
        list[str]: Lines of Python.
    """
    count = f'num_classes=_base_.{prefix}_num_classes'
    if isinstance(export, LabelExport):
        return [
            f'_base_ = [{SEG_STOCK!r}, {str(out.resolve())!r}]',
            *(f'{loop}_dataloader = dict(dataset=_base_.{prefix}_{loop})' for loop in SPLIT_ORDER),
            f'val_evaluator = test_evaluator = _base_.{prefix}_val_evaluator',
            f'model = dict(decode_head=dict({count}))',
        ]
    pipelines: Mapping[str, str] = dict(train='train', val='test', test='test')
    return [
        f'_base_ = [{CLS_STOCK!r}, {str(out.resolve())!r}]',
        *(
            f'{loop}_dataloader = dict(dataset=dict(_base_.{prefix}_{loop}, _delete_=True, '
            f'pipeline=_base_.{pipelines[loop]}_pipeline))'
            for loop in SPLIT_ORDER
        ),
        f'val_evaluator = test_evaluator = _base_.{prefix}_val_evaluator',
        f'data_preprocessor = dict({count})',
        f'model = dict(head=dict({count}, topk=(1, )))',
    ]
