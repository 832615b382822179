"""The model of a job: its weights, and its heads for the data's classes."""

from collections.abc import Iterator
from pathlib import Path

from mmengine.config import ConfigDict

from ..classes.counted import is_counted_by_words, places_of_count
from ..datasets.checks import head_class_counts
from ..errors import UserError
from ..recipes.images import drop_downloads
from .draft import Draft
from .job import meant

METRICS = dict(
    boxes='coco/bbox_mAP',
    masks='coco/segm_mAP',
    maps='mIoU',
    points='coco/AP',
    classes='accuracy/top1',
)


def set_weights(draft: Draft) -> None:
    """LOCAL_MODEL_PATH, CACHE_BOOL, dest_root, load_model."""
    job, cfg = draft.job, draft.cfg
    local, folder = job.get('LOCAL_MODEL_PATH'), job.get('dest_root')
    if local:
        check_there(local, f'{job.source}: LOCAL_MODEL_PATH')
        cfg.load_from = local
        job.became('LOCAL_MODEL_PATH', 'load_from')
    elif draft.stock.weights:
        there = folder and Path(folder) / Path(draft.stock.weights).name
        cfg.load_from = str(there) if there and there.is_file() else draft.stock.weights
        job.became('LOCAL_MODEL_PATH', f'not there: load_from = {cfg.load_from}')
    elif cfg.get('load_from'):
        job.became('LOCAL_MODEL_PATH', f'not there: load_from = {cfg.load_from}, of the config')
    else:
        job.warn(
            'LOCAL_MODEL_PATH',
            f'not there, and {draft.stock.name} names no weights: the model begins with those of '
            'its backbone',
        )
    if cfg.get('load_from'):
        drop_downloads(cfg.model)  # that checkpoint holds the backbone too
    caches = job.get('CACHE_BOOL')
    if folder and not caches:
        draft.environment['TORCH_HOME'] = folder
        job.became('dest_root', f'TORCH_HOME={folder}: where downloaded weights go')
    elif folder:
        job.warn('dest_root', "CACHE_BOOL is True: downloaded weights go into torch's own cache")
    if 'CACHE_BOOL' in job:
        where = "torch's own cache" if caches or not folder else folder
        job.became('CACHE_BOOL', f'downloaded weights go into {where}')
    if 'load_model' in job:
        job.became('load_model', 'the model begins with the weights of load_from')


def check_there(path: str, where: str) -> None:
    """Check that a file that a job names is there; a URL is taken for it."""
    file = Path(path)
    if '://' in path or file.exists():
        return
    raise UserError(f'{where} {path}: there is no such file{meant(file)}')


def set_classes(draft: Draft, names: list[str], data_file: Path) -> None:
    """Let the heads of a model predict other classes, or points.

    Args:
        draft (Draft): The config.
        names (list[str]): What they are called.
        data_file (Path): The data set's file, which some heads read themselves.

    Raises:
        UserError: The model has no head that counts them.
    """
    cfg, count = draft.cfg, len(names)
    _check_task(draft)
    if is_counted_by_words(cfg.model):
        return  # asked by the names of the classes
    if draft.task == 'points':
        places = _point_places(draft)
        for node in _nodes(cfg.model):
            if isinstance(node.get('metainfo'), str):
                node.metainfo = str(data_file.resolve())
    else:
        places = dict(head_class_counts(cfg.model, 'model'))
    if not places:
        raise UserError(f'{draft.stock.name}: no head of its model counts {draft.task}')
    for node in _nodes(cfg.model):
        if node.get('num_stuff_classes') and draft.task == 'masks':
            raise UserError(
                f'{draft.stock.name} predicts things and stuff, of which the data has none: take '
                'the config for instances of the same model'
            )
        if _fit_weights(node, set(places.values()), count):
            draft.job.warn('MODEL_PATH', 'its loss weighs its own classes: here all weigh the same')
    cfg.merge_from_dict(dict.fromkeys(places, count))
    if draft.task == 'classes':
        preprocessor = cfg.get('data_preprocessor') or ConfigDict()
        if 'num_classes' in preprocessor:
            preprocessor.num_classes = count
        for node in _nodes(cfg.model):
            if 'topk' in node:
                node.topk = (1,)


def _check_task(draft: Draft) -> None:
    """Refuse a model that learns from something else than the data has."""
    for node in _nodes(draft.cfg.get('custom_hooks') or []):
        if node.get('new_train_dataset'):
            raise UserError(
                f'{draft.stock.name} changes to another data set in mid-run, by '
                f'{node.get("type")}: name a config of one data set'
            )
    if draft.task not in ('boxes', 'masks'):
        return
    steps = [*_nodes(draft.cfg.train_dataloader.dataset)]
    with_masks = any(step.get('with_mask') for step in steps)
    if any(step.get('with_seg') for step in steps):
        raise UserError(
            f'{draft.stock.name} learns from label maps beside boxes, which the data has not: take '
            'the config of another model'
        )
    if draft.task == 'boxes' and with_masks:
        raise UserError(
            f'{draft.stock.name} learns from masks: TASK: instance_segmentation, or the config of '
            'the same model without them'
        )
    if draft.task == 'masks' and not with_masks:
        raise UserError(
            f'{draft.stock.name} predicts boxes only: TASK: object_detection, or the config of a '
            'model that predicts masks'
        )


def _point_places(draft: Draft) -> dict[str, int]:
    counts = {
        node[key]
        for node in _nodes(draft.cfg.model.head)
        for key in ('num_keypoints', 'out_channels', 'num_joints')
        if isinstance(node.get(key), int)
    }
    for count in sorted(counts):
        places = places_of_count(draft.cfg.model, 'keypoints', count)
        if places:
            return places
    return {}


def _fit_weights(node: ConfigDict, counted: set[int], count: int) -> bool:
    """Fit weights of a loss, one a class and perhaps one for the background.

    Args:
        node (ConfigDict): What may have them; changed in place.
        counted (set[int]): Numbers of classes that the model had.
        count (int): How many it has now.

    Returns:
        bool: Whether they differed, and are left out.
    """
    weights = node.get('class_weight')
    if not isinstance(weights, (list, tuple)) or len(weights) < 2:
        return False
    old = next((n for n in sorted(counted) if len(weights) in (n, n + 1)), None)
    if old is None:
        return False
    if all(weight == weights[0] for weight in weights[:old]):
        node.class_weight = [weights[0]] * count + list(weights[old:])
        return False
    node.class_weight = None
    return True


def _nodes(node) -> Iterator[ConfigDict]:
    if isinstance(node, dict):
        yield node
        for value in [*node.values()]:
            yield from _nodes(value)
    elif isinstance(node, (list, tuple)):
        for item in node:
            yield from _nodes(item)
