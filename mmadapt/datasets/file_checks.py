"""Whether the files that a config's data sets and evaluators name exist."""

import inspect
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from mmengine.logging import print_log
from mmengine.registry import DATASETS

from ..errors import UserError
from ..values import close_names
from .annotation_head import first_file_names
from .layout import name_on_disk


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
    """Return the class that a data set config names, None when no registry knows it."""
    kind = cfg.get('type')
    if not isinstance(kind, str):
        return kind
    with DATASETS.switch_scope_and_registry(scope) as registry:
        return registry.get(kind)


def labels_by_category_order(cls: type | None) -> bool:
    """Return whether a data set labels by the order of a COCO file's categories."""
    from mmdet.datasets import CocoDataset

    return (
        isinstance(cls, type)
        and issubclass(cls, CocoDataset)
        and getattr(cls, 'load_data_list', None) is CocoDataset.load_data_list
    )


def loads_as_coco(cls: type | None) -> bool:
    """Return whether a data set reads and filters a COCO file as `CocoDataset` does."""
    from mmdet.datasets import CocoDataset

    return labels_by_category_order(cls) and all(
        getattr(cls, name) is getattr(CocoDataset, name)
        for name in ('parse_data_info', 'filter_data')
    )


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
    """Return what is missing, what is there instead, and the nearest name."""
    lost = path
    while not lost.parent.exists():
        lost = lost.parent
    folder = lost.parent
    names = sorted(p.name + '/' * p.is_dir() for p in folder.iterdir())
    # Among hundreds of images only what could have been meant.
    names = [n for n in names if n.endswith(lost.suffix or '/')] or names
    shown = ', '.join(names[:8]) + (', ...' if len(names) > 8 else '')
    near = close_names(lost.name, [name.rstrip('/') for name in names])
    if lost == path:
        there = f'{folder} holds {shown or "nothing"}'
    else:
        there = f'there is no {lost}, and {folder.resolve()} holds {shown or "nothing"}'
    hint = f'; did you mean {folder / near[0]}?' if near else ''
    slashed = Path(str(path).replace('\\', '/'))
    if slashed.exists():
        hint = f'; did you mean {slashed}, with slashes?'
    return UserError(f'{what} not found: {path} ({where}); {there}{hint}')


def check_coco_dataset_cfg(
    dataset_cfg: dict | None, path: str = 'dataset', scope: str = 'mmdet'
) -> None:
    """Check that the files of every data set in a config exist.

    Args:
        dataset_cfg (dict, optional): A data set config; wrappers are looked into.
        path (str): Where it stands in the config, for messages.
        scope (str): The config's ``default_scope``.

    Raises:
        UserError: If an annotation file, an image folder, or one of the first 1000 images that a
            COCO annotation file lists is missing.
    """
    for place, cfg in leaf_datasets(dataset_cfg, path):
        cls = dataset_class(cfg, scope)
        ann_file = cfg.get('ann_file')
        ann_path = complete_path(cfg, ann_file) if isinstance(ann_file, str) and ann_file else None
        if ann_path is not None and not ann_path.is_file():
            raise _missing(ann_path, 'annotation file', f'{place}.ann_file')
        for key, prefix in _prefixes(cfg, cls, place).items():
            folder = complete_path(cfg, prefix) if isinstance(prefix, str) else None
            if folder is None or _downloads(cls, cfg):
                continue
            if not folder.is_dir():
                raise _missing(folder, 'folder', f'{place}.data_prefix{key}')
            if key == '.img' and ann_path and labels_by_category_order(cls):
                _check_first_images(ann_path, folder, f'{place}.data_prefix.img')


def _prefixes(cfg: dict, cls: type | None, place: str) -> dict[str, str]:
    """Return what a data set has under ``data_prefix``, by the place below that key."""
    prefix = cfg.get('data_prefix') or {}
    if not isinstance(prefix, str):
        return {f'.{key}': value for key, value in prefix.items()}
    library = getattr(cls, '__module__', '').split('.')[0]
    wanted = dict(mmdet='img={0!r}', mmpose='img={0!r}', mmseg='img_path={0!r}, seg_map_path=...')
    if cls is not None and library in wanted:
        raise UserError(
            f'{place}.data_prefix is the text {prefix!r}; {cls.__name__} reads '
            f'dict({wanted[library].format(prefix)})'
        )
    # MMPretrain takes a text, and ~ in it for the home.
    return {'': os.path.expanduser(prefix)}


def _downloads(cls: type | None, cfg: dict) -> bool:
    """Return whether a data set fetches what is missing, as MMPretrain's CIFAR10 does."""
    return (
        isinstance(cls, type)
        and 'download' in inspect.signature(cls).parameters
        and cfg.get('download', True)
    )


def _check_first_images(ann_path: Path, folder: Path, place: str) -> None:
    names = first_file_names(ann_path)
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        here = name_on_disk(folder, missing[0])
        remedy = (
            f'which is {here} here; mmadapt dataset FOLDER --fix writes the names of the files here'
            if here
            else 'correct the folder, or run mmadapt dataset for the whole list'
        )
        raise UserError(
            f'{len(missing)} of the first {len(names)} images that {ann_path} lists are not in '
            f'{folder} ({place}), for instance {missing[0]}; {remedy}'
        )


def check_evaluator_cfg(
    evaluator_cfg: dict | list, dataset_cfg: dict | None, path: str = 'val_evaluator'
) -> None:
    """Check that evaluators read a file that exists, and say when it is not their data set's.

    Args:
        evaluator_cfg (dict | list): The evaluator's config.
        dataset_cfg (dict | None): The config of the data set it evaluates.
        path (str): Where it stands in the config, for messages.

    Raises:
        UserError: If an evaluator's annotation file does not exist.
    """
    read = [
        complete_path(cfg, cfg['ann_file'])
        for _, cfg in leaf_datasets(dataset_cfg, '')
        if isinstance(cfg.get('ann_file'), str)
    ]
    evaluators = evaluator_cfg if isinstance(evaluator_cfg, (list, tuple)) else [evaluator_cfg]
    for evaluator in evaluators:
        ann_file = evaluator.get('ann_file') if isinstance(evaluator, dict) else None
        ann_path = (
            complete_path(dict(backend_args=evaluator.get('backend_args')), ann_file)
            if isinstance(ann_file, str)
            else None
        )
        if ann_path is None:
            continue
        if not ann_path.is_file():
            raise _missing(ann_path, 'annotation file', f'{path}.ann_file')
        others = [other for other in read if other is not None]
        if others and ann_path.resolve() not in [other.resolve() for other in others]:
            print_log(
                f'{path} reads {ann_path} but its data set reads {others[0]}: set both to the '
                'same file, or the figures may not be about these images',
                logger='current',
                level=logging.WARNING,
            )
