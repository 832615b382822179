"""Checks of a pose config: its points are those of its files, of its head and of its losses."""

from collections.abc import Iterator, Sequence

from mmengine.config import Config

from ..config_files import inherited
from ..errors import UserError
from ..logs import warn
from ..type_names import type_name
from .coco_file import local_file, read_once
from .keypoint_checks import (
    BAD_VISIBILITY,
    NO_POINT_AREA,
    NO_POINTS,
    NOTHING_VISIBLE,
    OTHER_POINTS,
    UNCOUNTED,
    WITHOUT_POINTS,
    check_keypoints,
    number_of_points,
    other_categories,
)
from .kinds import datasets_of, evaluators_of, reads_as
from .metainfo import check_metainfo, check_swaps, read_metainfo
from .problems import Problems
from .said import raise_or_warn

_DATASET = ('mmpose', 'BaseCocoStyleDataset')
_METRIC = ('mmpose', 'CocoMetric')
# Heads whose out_channels is the number of points; in all others it may be another one.
_MAPS = ('HeatmapHead', 'CPMHead', 'ViPNASHead', 'SimCCHead', 'RTMCCHead', 'RTMWHead')
# They read points from a file of their own, and OKS then compares as many as that has.
_OKS = ('PoseOKS', 'OKSLoss')
# What a data set stops at or leaves out, and what an evaluation does.
_OF_DATA = (NO_POINTS, NOTHING_VISIBLE, OTHER_POINTS, UNCOUNTED, BAD_VISIBILITY)
_OF_TRUTH = (NO_POINTS, NOTHING_VISIBLE, WITHOUT_POINTS)
# Heads that take the number of a category less 1 for a label.
_LABELED = ('RTMOHead', 'YOLOXPoseHead')


def check_pose(cfg: Config, loops: Sequence[str]) -> None:
    """Check the points of the data sets of MMPose that a run is going to use.

    Args:
        cfg (Config): The whole config.
        loops (Sequence[str]): Among 'train', 'val' and 'test'.

    Raises:
        UserError: A description of points is not complete, or does not fit the model or a file.
    """
    model = cfg.get('model') or {}
    said = {''}
    by_oks = any(any(evaluators_of(cfg, loop, *_METRIC)) for loop in ('val', 'test'))
    try:
        for loop in loops:
            for place, leaf, cls in datasets_of(cfg, loop, *_DATASET):
                own = bool(leaf.get('metainfo'))
                given = leaf.get('metainfo') or getattr(cls, 'METAINFO', {})
                info, where = read_metainfo(given, f'{place}.metainfo' if own else place)
                points = check_metainfo(info, where, by_oks)
                fault = check_swaps(info, where, own)
                if fault not in said:
                    said.add(fault)
                    warn(fault)
                if not _converts(cfg, loop, leaf):
                    _check_model(model, points, where)
                _check_file(leaf, cls, points, place, where)
                if loop != 'train' or type_name(_head(model).get('type')) in _LABELED:
                    _check_categories(leaf, place)
                _check_evaluators(cfg, loop, info, points, own)
    finally:
        read_once.cache_clear()


def _converts(cfg: Config, loop: str, leaf: dict) -> bool:
    """Return whether the points of a data set become others before the model sees them."""
    outer = cfg[f'{loop}_dataloader']['dataset']
    return any(
        type_name(part.get('type')) == 'CombinedDataset' for _, part in _parts(outer, '')
    ) or any('Converter' in type_name(step.get('type')) for _, step in _parts(leaf, ''))


def _head(model: dict) -> dict:
    return model.get('head') or {}


def _check_model(model: dict, points: int, where: str) -> None:
    head = _head(model)
    keys = ['num_keypoints', 'num_joints']
    keys += ['out_channels'] * (type_name(head.get('type')) in _MAPS)
    for key in keys:
        if isinstance(head.get(key), int) and head[key] != points:
            raise UserError(
                f'model.head.{key} is {head[key]}, but {where} describes {points} points; '
                f'--cfg-options model.head.{key}={points}'
            )
    for place, part in _parts(head, 'model.head'):
        if type_name(part.get('type')) not in _OKS or not part.get('metainfo'):
            continue
        info, file = read_metainfo(dict(from_file=part['metainfo']), f'{place}.metainfo')
        count = check_metainfo(info, file)
        if count != points:
            raise UserError(
                f'{place}.metainfo={part["metainfo"]!r} describes {count} points, but {where} '
                f'{points}; name a file there that has yours as dataset_info'
            )


def _parts(node, place: str) -> Iterator[tuple[str, dict]]:
    """Yield the dicts of a config with their places, however deep they are."""
    if isinstance(node, dict):
        yield place, node
        for key, value in node.items():
            yield from _parts(value, f'{place}.{key}')
    elif isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            yield from _parts(value, f'{place}.{index}')


def _check_file(leaf: dict, cls: type, points: int, place: str, where: str) -> None:
    path = local_file(leaf)
    if path is None or not reads_as(cls, *_DATASET, ('_load_annotations', 'parse_data_info')):
        return
    if leaf.get('bbox_file'):
        return  # what is loaded are the boxes of a detector
    annotations = read_once(path)['annotations']
    there = number_of_points(annotations)
    if there not in (None, points):
        raise UserError(
            f'{path} ({place}.ann_file) has {there} points an object, but {where} describes '
            f'{points}; write metainfo=dict(dataset_name=..., keypoint_info=..., ...) of those '
            f'{there} in the data set, as in {inherited("datasets/face_pose.py")}'
        )
    problems = Problems()
    check_keypoints(annotations, points, str(path), problems)
    # An object that has the key is taken, and one without points is no array of them.
    empty = any('keypoints' in a and not a['keypoints'] for a in annotations)
    kinds = (*_OF_DATA, *[WITHOUT_POINTS] * (empty and leaf.get('data_mode') == 'bottomup'))
    raise_or_warn(problems, f'{place}.ann_file', kinds)


def _check_categories(leaf: dict, place: str) -> None:
    """Check that what a model finds by itself, and calls category 1, is called so in the file."""
    path = local_file(leaf)
    if path is None or leaf.get('data_mode') != 'bottomup':
        return
    content = read_once(path)
    names = {entry.get('id'): entry.get('name') for entry in content['categories']}
    others = other_categories(content['annotations'], names)
    if others:
        raise UserError(
            f'{path} ({place}.ann_file) has objects of other categories than 1 ({others}): models '
            'that find objects by themselves know category 1 alone, so that training stops, or '
            'none of them is found right; mmadapt dataset FOLDER --fix makes one category of '
            'them, with id 1'
        )


def _check_evaluators(cfg: Config, loop: str, info: dict, points: int, own: bool) -> None:
    for place, evaluator in evaluators_of(cfg, loop, *_METRIC):
        if not evaluator.get('ann_file'):
            warn(
                f'{place} has no ann_file: MMPose takes the file of whichever data set called '
                f'{info["dataset_name"]!r} was built last; write the one of this data set there'
            )
        path = local_file(evaluator)
        if path is not None and not evaluator.get('format_only'):
            problems = Problems()
            check_keypoints(read_once(path)['annotations'], points, str(path), problems)
            by_area = [NO_POINT_AREA] * evaluator.get('use_area', True)
            raise_or_warn(problems, f'{place}.ann_file', (*_OF_TRUTH, *by_area))
        by_points = evaluator.get('score_mode', 'bbox_keypoint') != 'bbox'
        threshold = evaluator.get('keypoint_score_thr', 0.2)
        if own and by_points and threshold > 0:
            warn(
                f'{place}.keypoint_score_thr={threshold}: all detections whose points score less, '
                'as those of a new head do, get the score 0, and their rank is the order of the '
                f'file; --cfg-options {place}.keypoint_score_thr=0'
            )
