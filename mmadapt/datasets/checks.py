"""Checks at the start of a run: the data's files exist, and its classes are those of the model.

They read configs and annotation files, without building anything. What a mismatch does otherwise: a
`CocoDataset` whose class names are not in its file trains on no boxes, and a head with too many
classes trains without a word.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from mmengine.config import Config

from ..errors import UserError
from ..logs import is_first_process
from ..type_names import type_name
from ..values import close_names
from .annotation_head import read_category_names
from .class_training import check_class_data, folder_names
from .content_checks import check_content
from .file_checks import (
    check_coco_dataset_cfg,
    check_evaluator_cfg,
    complete_path,
    dataset_class,
    labels_by_category_order,
    leaf_datasets,
)
from .label_training import check_label_data
from .library_classes import is_label_dataset, library_class
from .lone_objects import check_lone_objects
from .pose_checks import check_pose

# Parts of a model whose num_classes counts something else than the data set's categories.
OTHER_COUNTS = ('rpn_head', 'backbone', 'reid', 'language_model', 'semantic_head', 'init_cfg')
# Heads that tell borders from what is no border, and models that are asked by text.
BORDER_HEADS = ('STDCHead',)
TEXT_MODELS = ('language_model', 'text_encoder')


def check_data(cfg: Config, loops: Sequence[str] = ('train', 'val', 'test')) -> None:
    """Check files and classes of the loops that a run is going to use.

    Args:
        cfg (Config): The whole config.
        loops (Sequence[str]): Among 'train', 'val' and 'test'.

    Raises:
        UserError: If a file is missing, the classes do not fit, or nothing is left to train on.
    """
    scope = cfg.get('default_scope') or 'mmdet'
    for loop in loops:
        dataset = (cfg.get(f'{loop}_dataloader') or {}).get('dataset')
        check_coco_dataset_cfg(dataset, f'{loop}_dataloader.dataset', scope)
        if cfg.get(f'{loop}_evaluator'):
            check_evaluator_cfg(cfg[f'{loop}_evaluator'], dataset, f'{loop}_evaluator')
    if is_first_process():
        check_class_data(cfg, loops, lambda *leaf: _metainfo(*leaf).get('classes') or ())
    check_classes_match_head(cfg, loops)
    if is_first_process():
        check_pose(cfg, loops)
        if 'train' in loops:
            check_lone_objects(cfg)
        # The files are parsed for this, which for COCO itself takes seconds and gigabytes.
        check_content(cfg, loops, lambda *leaf: _metainfo(*leaf).get('classes') or ())
        check_label_data(cfg, loops, lambda *leaf: _metainfo(*leaf).get('classes') or ())


def head_class_counts(model: dict | list, path: str = 'model') -> Iterator[tuple[str, int]]:
    """Find the class counts of a model's heads.

    Args:
        model (dict | list): The model's config.
        path (str): Where it stands, with dots also before list indices, as --cfg-options has it.

    Yields:
        tuple[str, int]: Place and value of each ``num_classes`` or ``num_things_classes``.
    """
    if isinstance(model, (list, tuple)):
        for index, item in enumerate(model):
            yield from head_class_counts(item, f'{path}.{index}')
    elif isinstance(model, dict) and type_name(model.get('type')) not in BORDER_HEADS:
        for key in ('num_classes', 'num_things_classes'):
            if isinstance(model.get(key), int):
                yield f'{path}.{key}', model[key]
        for key, value in model.items():
            if key not in OTHER_COUNTS:
                yield from head_class_counts(value, f'{path}.{key}')


def check_classes_match_head(cfg: Config, loops: Sequence[str] = ('train', 'val', 'test')) -> None:
    """Check that the data sets' classes are in their files and as many as the heads predict.

    Args:
        cfg (Config): The whole config.
        loops (Sequence[str]): Among 'train', 'val' and 'test'.

    Raises:
        UserError: If names are missing in an annotation file or listed in another order, or a
            head's ``num_classes`` is not the number of classes.
    """
    from mmdet.datasets import BaseDetDataset, BaseVideoDataset

    model = cfg.get('model') or {}
    # An open-vocabulary head counts text tokens, not classes.
    is_asked = any(key in model for key in TEXT_MODELS)
    heads = [] if is_asked else list(head_class_counts(model))
    preprocessor = cfg.get('data_preprocessor') or {}
    for loop in loops:
        dataset = (cfg.get(f'{loop}_dataloader') or {}).get('dataset')
        for place, leaf in leaf_datasets(dataset, f'{loop}_dataloader.dataset'):
            cls = dataset_class(leaf, cfg.get('default_scope') or 'mmdet')
            if not isinstance(cls, type) or issubclass(cls, BaseVideoDataset):
                continue
            if not issubclass(cls, BaseDetDataset) and not is_label_dataset(cls):
                continue
            meta = _metainfo(cls, leaf, place)
            classes = meta.get('classes') or folder_names(cls, leaf)
            if not classes:
                continue
            meta['classes'] = classes
            if labels_by_category_order(cls):
                _check_names_in_file(leaf, tuple(classes), f'{place}.metainfo.classes')
            counts = heads
            if library_class(cls, 'mmpretrain', 'BaseDataset') and preprocessor.get('num_classes'):
                # Of one-hot labels, which batch augmentations mix.
                counts = [*heads, ('data_preprocessor.num_classes', preprocessor['num_classes'])]
            _check_counts(counts, meta, leaf, place)


def class_names_of(cfg: Config, loop: str) -> list[str] | None:
    """Return the classes that the data set of a loop will have once it is built, if that is known.

    Args:
        cfg (Config): The whole config.
        loop (str): 'train', 'val' or 'test'.
    """
    names = metainfo_of(cfg, loop).get('classes')
    return None if names is None or isinstance(names, str) else [str(name) for name in names]


def metainfo_of(cfg: Config, loop: str, configured: bool = True) -> dict:
    """Return the meta information that the data set of a loop will have once it is built.

    Args:
        cfg (Config): The whole config.
        loop (str): 'train', 'val' or 'test'.
        configured (bool): Whether the config's own ``metainfo`` counts, or only what the type of
            data set has without one. Defaults to True.

    Returns:
        dict: That of what combines several data sets, or else of the first of them; empty where it
        is not known.
    """
    from mmengine.dataset import BaseDataset

    dataset = (cfg.get(f'{loop}_dataloader') or {}).get('dataset')
    for place, leaf in leaf_datasets(dataset, f'{loop}_dataloader.dataset'):
        cls = dataset_class(leaf, cfg.get('default_scope') or 'mmdet')
        if not isinstance(cls, type) or not issubclass(cls, BaseDataset):
            return {}
        # MMPose's combined data sets have keypoints of their own.
        if not configured:
            leaf = dict(type=leaf['type'])
        elif isinstance(dataset, dict) and dataset.get('metainfo'):
            leaf = dataset
        return _metainfo(cls, leaf, place)
    return {}


def _metainfo(cls: Any, leaf: dict, place: str) -> dict:
    """Return the data set's meta information as it will have it once built."""
    given = leaf.get('metainfo') or {}
    for key, value in given.items():
        if key.lower() == 'classes' and key != 'classes':
            raise UserError(
                f'{place}.metainfo.{key} is not read: the key is classes, in small letters'
            )
        if key == 'classes' and isinstance(value, str) and not value.endswith('.txt'):
            raise UserError(
                f'{place}.metainfo.classes is the text {value!r}; a tuple of one name '
                f'needs a comma: ({value!r}, )'
            )
    return cls._load_metainfo(given or None)  # MMPose's reads its file only where there is none


def _check_names_in_file(leaf: dict, classes: tuple[str, ...], place: str) -> None:
    """Check that a COCO file lists the classes, in their order."""
    ann_path = complete_path(leaf, leaf.get('ann_file') or '')
    if ann_path is None or not ann_path.is_file():
        return
    names = read_category_names(ann_path)
    for name in classes:
        if name not in names:
            near = close_names(name, names, most=3) or names[:8]
            raise UserError(
                f'{place} names {name!r}, but {ann_path} has no such category; the nearest are '
                f'{", ".join(map(repr, near))}'
            )
    listed = tuple(name for name in names if name in classes)
    if len(listed) > len(classes):
        twice = next(name for name in listed if listed.count(name) > 1)
        raise UserError(
            f'{ann_path} has several categories called {twice!r}, of which MMDetection '
            'makes as many labels; mmadapt dataset --fix removes an unused one'
        )
    if listed != tuple(classes):
        raise UserError(
            f'{place} is in another order than the categories of {ann_path}, by which MMDetection '
            f'labels; write classes={listed!r}'
        )


def _check_counts(heads: list[tuple[str, int]], meta: dict, leaf: dict, place: str) -> None:
    """Compare the heads with one data set."""
    classes = meta['classes']
    # Where a data set tells things from stuff, heads with num_classes predict the things.
    expected = len(meta.get('thing_classes', classes))
    wrong = [(where, count) for where, count in heads if count != expected]
    if not wrong:
        return
    own = 'classes' in (leaf.get('metainfo') or {})
    names = ', '.join(classes[:5]) + (', ...' if len(classes) > 5 else '')
    source = f'{place}.metainfo.classes' if own else f'{place} (type {leaf["type"]}, no metainfo)'
    options = ' '.join(f'{where}={expected}' for where, _ in wrong)
    raise UserError(
        f'{" and ".join(f"{where} is {count}" for where, count in wrong)}, but {source} has '
        f'{expected} classes ({names}); set the same number in both, for instance '
        f'--cfg-options {options}'
    )
