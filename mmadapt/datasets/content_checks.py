"""What MMDetection will train on and evaluate: images that the filter leaves, boxes, masks.

A COCO file is parsed for this, once more than MMDetection itself does, and in one process only.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence

from mmengine.config import Config
from mmengine.logging import print_log

from ..errors import UserError
from ..type_names import type_name
from .coco_file import CocoFile, local_file, read_once
from .evaluation_checks import check_evaluators
from .file_checks import dataset_class, leaf_datasets, loads_as_coco
from .masks import NO_MASK, ODD, SHORT, mask_fault, polygon_fault
from .training_use import CROWD, listed


def check_content(cfg: Config, loops: Sequence[str], classes_of: Callable) -> None:
    """Refuse data of which MMDetection would train or evaluate nothing, or at which it would stop.

    Args:
        cfg (Config): The whole config.
        loops (Sequence[str]): Among 'train', 'val' and 'test'.
        classes_of (Callable): Gives a data set's classes from its class, its config and its place.

    Raises:
        UserError: One line that names the file, how much of it is at fault, and the remedy.
    """
    scope = cfg.get('default_scope') or 'mmdet'
    try:
        for loop in loops:
            dataset = (cfg.get(f'{loop}_dataloader') or {}).get('dataset')
            every = list(leaf_datasets(dataset, f'{loop}_dataloader.dataset'))
            leaves = [
                (place, leaf, classes_of(dataset_class(leaf, scope), leaf, place))
                for place, leaf in every
                if loads_as_coco(dataset_class(leaf, scope)) and local_file(leaf)
            ]
            if loop == 'train':
                _check_training(leaves, _hook_steps(cfg), len(leaves) == len(every))
                continue
            for place, leaf, classes in leaves:
                file = CocoFile(leaf, classes)
                _check_images(file, leaf, place)
                _check_loading(file, list(_load_steps(leaf)), place, False)
            if leaves:
                check_evaluators(cfg, loop, classes, file.folder, scope)
    finally:
        read_once.cache_clear()


def _check_training(leaves: list[tuple], hook_steps: list[dict], all_known: bool) -> None:
    """Check the training data: all data sets of the loop together."""
    trained: Counter[str] = Counter()
    reasons = defaultdict(list)
    paths, unlisted = [], 0
    for place, leaf, classes in leaves:
        file = CocoFile(leaf, classes)
        paths.append(str(file.path))
        unlisted += file.unlisted
        _check_images(file, leaf, place)
        for ann, _, reason in file.boxes():
            name = file.names[ann['category_id']]
            if reason is None:
                trained[name] += 1
            else:
                reasons[name].append(reason)
        _check_loading(file, [*_load_steps(leaf), *hook_steps], place, True)
    if not leaves or not all_known:
        # A data set of another kind may have the boxes that these lack.
        return
    every = sum(reasons.values(), [])
    where = f'{leaves[0][0]} ({", ".join(paths)})'
    remedy = f'{file.remedy} shows them, and --fix-ignored makes single objects of marked ones'
    if not trained:
        what = (
            f'none of its {len(every):,} boxes is trained on: {listed(every)}; {remedy}'
            if every
            else 'no annotation of a listed image has one of the classes'
            + f', {unlisted:,} belong to images that are not' * bool(unlisted)
            + f'; {file.remedy} shows what there is'
        )
        raise UserError(f'{where} has nothing to train on: {what}')
    lost = [name for name in reasons if not trained[name]]
    if lost:
        raise UserError(
            f'{where}: no box of the class {lost[0]!r} is trained on: '
            f'{listed(reasons[lost[0]])}; {remedy}'
        )
    if every:
        print_log(
            f'{where}: {len(every):,} of {len(every) + trained.total():,} boxes are not '
            f'trained on: {listed(every)}',
            logger='current',
            level=logging.WARNING,
        )


def _check_images(file: CocoFile, leaf: dict, place: str) -> None:
    """Check that images are left when the data set has filtered them."""
    if not file.images:
        raise UserError(
            f'{file.path} ({place}) lists no images: export it again, or name another file in '
            f'{place}.ann_file'
        )
    filters = leaf.get('filter_cfg') or {}
    if leaf.get('test_mode') or not filters:
        return
    used = {ann['image_id'] for ann in file.annotations}
    small = filters.get('min_size', 0)
    empty = set(file.images) - used if filters.get('filter_empty_gt') else set()
    tiny = {i for i, image in file.images.items() if min(image['width'], image['height']) < small}
    if len(empty | tiny) < len(file.images):
        return
    does = [f'filter_empty_gt=True removes {len(empty):,} without a box of the classes'] * bool(
        empty
    ) + [
        f'min_size={small} removes {len(tiny):,}, for instance of {{width}} x {{height}}'.format(
            **file.images[min(tiny, key=str)]
        )
    ] * bool(tiny)
    raise UserError(
        f'nothing is left of the {len(file.images):,} images of {file.path}: '
        f'{place}.filter_cfg, {" and ".join(does)}'
    )


def _load_steps(pipeline) -> Iterator[dict]:
    """Yield the steps that load masks, however deep they are in a config."""
    if isinstance(pipeline, (list, tuple)):
        for step in pipeline:
            yield from _load_steps(step)
    elif isinstance(pipeline, dict):
        if type_name(pipeline.get('type')) == 'LoadAnnotations' and pipeline.get('with_mask'):
            yield pipeline
        for value in pipeline.values():
            yield from _load_steps(value)


def _hook_steps(cfg: Config) -> list[dict]:
    """Return the steps that load masks in pipelines to which hooks switch."""
    hooks = [hook for hook in cfg.get('custom_hooks') or [] if isinstance(hook, dict)]
    return list(_load_steps([hook.get('switch_pipeline') for hook in hooks]))


def _check_loading(file: CocoFile, steps: list[dict], place: str, trains: bool) -> None:
    """Check that masks can be loaded, and in training that none is ignored silently."""
    if not steps:
        return
    polygons_only = not all(step.get('poly2mask', True) for step in steps)
    stops, ignored = [], []
    for ann, image, reason in file.boxes():
        if reason not in (None, CROWD):
            continue
        mask = ann.get('segmentation')
        fault = mask_fault(mask, image, look_closely=False)
        if isinstance(mask, dict) and polygons_only:
            ignored += [(ann, 'run lengths')] * (reason is None)
        elif fault in (SHORT, ODD):
            # The other polygons of the object are trained on.
            if all(polygon_fault(part, image, look_closely=False) for part in mask or ()):
                ignored += [(ann, fault)] * (reason is None)
        elif fault:
            stops.append((ann, fault))
    count = f'of the {len(file.annotations):,} annotations of {file.path} ({place})'
    if stops:
        ann, fault = stops[0]
        raise UserError(
            f'LoadAnnotations(with_mask=True) stops at {len(stops):,} {count}, for instance '
            f'annotation {ann.get("id")}: {fault}; {file.remedy} --fix '
            + ('writes a file for masks without them' if fault == NO_MASK else 'mends what can be')
        )
    if not (ignored and trains):
        return
    ann, fault = ignored[0]
    remedy = (
        f'{file.remedy} --fix writes a file for masks without them'
        if fault != 'run lengths'
        else 'poly2mask=True in every LoadAnnotations takes them'
    )
    what = f'annotation {ann.get("id")}: {fault}' + (
        ' under poly2mask=False' if fault == 'run lengths' else ''
    )
    raise UserError(
        f'MMDetection would train nothing on {len(ignored):,} {count}, for instance '
        f'{what}; {remedy}'
    )
