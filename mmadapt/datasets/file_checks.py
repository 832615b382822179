"""Whether the files that a config's data sets and evaluators name exist."""

import logging
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

from mmengine.logging import print_log
from mmengine.registry import DATASETS

from ..errors import UserError
from .annotation_head import first_file_names


def leaf_datasets(cfg: dict | list | None, path: str) -> Iterator[tuple[str, dict]]:
    """Find the innermost data set configs.

    Args:
        cfg (dict | list | None): A data set config; wrappers (concatenated, repeated, mixed) and
            lists are looked into.
        path (str): Where it stands in the config.

    Yields:
        tuple[str, dict]: Place and config of each data set that reads annotations.
    """
    if isinstance(cfg, (list, tuple)):
        for index, item in enumerate(cfg):
            yield from leaf_datasets(item, f'{path}[{index}]')
    elif isinstance(cfg, dict):
        inner = [key for key in ('dataset', 'datasets') if cfg.get(key)]
        for key in inner:
            yield from leaf_datasets(cfg[key], f'{path}.{key}')
        if not inner and 'type' in cfg:
            yield path, cfg


def dataset_class(cfg: dict, scope: str = 'mmdet') -> type | None:
    """type | None: The class that a data set config names, None when no registry knows it."""
    kind = cfg.get('type')
    if not isinstance(kind, str):
        return kind
    with DATASETS.switch_scope_and_registry(scope) as registry:
        return registry.get(kind)


def labels_by_category_order(cls: type | None) -> bool:
    """bool: Whether a data set labels by the order of a COCO file's categories."""
    from mmdet.datasets import CocoDataset
    return (isinstance(cls, type) and issubclass(cls, CocoDataset)
            and cls.load_data_list is CocoDataset.load_data_list)


def complete_path(cfg: dict, path: str) -> Path | None:
    """A local path as `BaseDataset` completes it.

    Args:
        cfg (dict): The data set's config.
        path (str): What it has under ``ann_file`` or in ``data_prefix``.

    Returns:
        Path | None: The path below ``data_root``; None when a remote backend reads it.
    """
    root = cfg.get('data_root') or ''
    backend = (cfg.get('backend_args') or {}).get('backend', 'local')
    if '://' in root + path or backend != 'local':
        return None
    return Path(root) / path


def _missing(path: Path, what: str, where: str) -> UserError:
    """UserError: What is missing, what is there instead, and the nearest name."""
    lost = path
    while not lost.parent.exists():
        lost = lost.parent
    folder = lost.parent
    names = sorted(p.name + '/' * p.is_dir() for p in folder.iterdir())
    # Among hundreds of images only what could have been meant.
    names = [n for n in names if n.endswith(lost.suffix or '/')] or names
    shown = ', '.join(names[:8]) + (', ...' if len(names) > 8 else '')
    near = get_close_matches(lost.name, [name.rstrip('/') for name in names], n=1)
    if lost == path:
        there = f'{folder} holds {shown or "nothing"}'
    else:
        there = f'there is no {lost}, and {folder.resolve()} holds {shown or "nothing"}'
    hint = f'; did you mean {folder / near[0]}?' if near else ''
    return UserError(f'{what} not found: {path} ({where}); {there}{hint}')


def check_coco_dataset_cfg(dataset_cfg: dict, path: str = 'dataset', scope: str = 'mmdet') -> None:
    """Check that the files of every data set in a config exist.

    Args:
        dataset_cfg (dict): A data set config; wrappers are looked into.
        path (str): Where it stands in the config, for messages.
        scope (str): The config's ``default_scope``.

    Raises:
        UserError: If an annotation file, an image folder, or one of the first 1000 images that a
            COCO annotation file lists is missing.
    """
    for place, cfg in leaf_datasets(dataset_cfg, path):
        ann_file = cfg.get('ann_file')
        ann_path = complete_path(cfg, ann_file) if isinstance(ann_file, str) and ann_file else None
        if ann_path is not None and not ann_path.is_file():
            raise _missing(ann_path, 'annotation file', f'{place}.ann_file')
        for key, prefix in (cfg.get('data_prefix') or {}).items():
            folder = complete_path(cfg, prefix) if isinstance(prefix, str) else None
            if folder is None:
                continue
            if not folder.is_dir():
                raise _missing(folder, 'folder', f'{place}.data_prefix.{key}')
            if key == 'img' and ann_path and labels_by_category_order(dataset_class(cfg, scope)):
                _check_first_images(ann_path, folder, f'{place}.data_prefix.img')


def _check_first_images(ann_path: Path, folder: Path, place: str) -> None:
    names = first_file_names(ann_path)
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise UserError(
            f'{len(missing)} of the first {len(names)} images that {ann_path} lists are not in '
            f'{folder} ({place}), for instance {missing[0]}; correct the folder, or run '
            'tools/dataset_config.py for the whole list')


def check_evaluator_cfg(evaluator_cfg: dict | list, dataset_cfg: dict | None,
                        path: str = 'val_evaluator') -> None:
    """Check that evaluators read a file that exists, and say when it is not their data set's.

    Args:
        evaluator_cfg (dict | list): The evaluator's config.
        dataset_cfg (dict | None): The config of the data set it evaluates.
        path (str): Where it stands in the config, for messages.

    Raises:
        UserError: If an evaluator's annotation file does not exist.
    """
    read = [
        complete_path(cfg, cfg['ann_file']) for _, cfg in leaf_datasets(dataset_cfg, '')
        if isinstance(cfg.get('ann_file'), str)
    ]
    evaluators = evaluator_cfg if isinstance(evaluator_cfg, (list, tuple)) else [evaluator_cfg]
    for evaluator in evaluators:
        ann_file = evaluator.get('ann_file') if isinstance(evaluator, dict) else None
        ann_path = complete_path(dict(backend_args=evaluator.get('backend_args')),
                                 ann_file) if isinstance(ann_file, str) else None
        if ann_path is None:
            continue
        if not ann_path.is_file():
            raise _missing(ann_path, 'annotation file', f'{path}.ann_file')
        others = [other for other in read if other is not None]
        if others and ann_path.resolve() not in [other.resolve() for other in others]:
            print_log(
                f'{path} reads {ann_path} but its data set reads {others[0]}: set both to the '
                'same file, or the figures may not be about these images',
                logger='current', level=logging.WARNING)
