"""What `CocoMetric` will read of its file, and what it cannot evaluate."""

import logging
from collections import Counter
from collections.abc import Sequence

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import METRICS

from ..errors import UserError
from ..type_names import type_name
from .coco_file import CocoFile, local_file
from .masks import ODD, SHORT, mask_fault


def check_evaluators(
    cfg: Config, loop: str, classes: Sequence[str], folder: str | None, scope: str
) -> None:
    """Check the evaluators of a loop that are MMDetection's `CocoMetric`.

    Args:
        cfg (Config): The whole config.
        loop (str): 'val' or 'test'.
        classes (Sequence[str]): The classes of its data set.
        folder (str | None): The folder of its data set.
        scope (str): The config's ``default_scope``.

    Raises:
        UserError: If nothing would be evaluated, or the evaluation would stop.
    """
    from mmdet.evaluation import CocoMetric

    evaluators = cfg.get(f'{loop}_evaluator') or []
    for evaluator in evaluators if isinstance(evaluators, (list, tuple)) else [evaluators]:
        kind = evaluator.get('type') if isinstance(evaluator, dict) else None
        if isinstance(kind, str):
            with METRICS.switch_scope_and_registry(scope) as registry:
                kind = registry.get(kind)
        if not isinstance(kind, type) or not issubclass(kind, CocoMetric):
            continue
        metrics = evaluator.get('metric', 'bbox')
        metrics = [metrics] if isinstance(metrics, str) else list(metrics)
        if 'segm' in metrics and not _predicts_masks(cfg.get('model')):
            raise UserError(
                f'{loop}_evaluator evaluates masks (segm), and nothing in `model` '
                f'predicts any: --cfg-options {loop}_evaluator.metric=bbox'
            )
        # Without a file it evaluates what the data set has loaded; format_only writes results.
        if local_file(evaluator) and not evaluator.get('format_only'):
            _check_ground_truth(
                CocoFile(evaluator, classes, folder), 'segm' in metrics, f'{loop}_evaluator'
            )


def _predicts_masks(model) -> bool:
    if isinstance(model, (list, tuple)):
        return any(map(_predicts_masks, model))
    if not isinstance(model, dict):
        return False
    return 'mask' in type_name(model.get('type')).lower() or any(
        key != 'data_preprocessor'
        and value is not None
        and ('mask' in key.lower() or _predicts_masks(value))
        for key, value in model.items()
    )


def _check_ground_truth(file: CocoFile, masks: bool, place: str) -> None:
    objects: Counter[int] = Counter()
    faults = []
    for ann, image, _ in file.boxes():
        file.need(ann, ('iscrowd',), 'annotations')
        if not ann['iscrowd']:
            objects[ann['image_id']] += 1
        mask = ann.get('segmentation')
        fault = masks and mask_fault(mask, image, look_closely=False)
        # By the first polygon pycocotools decides what the mask is; of others it takes what it can.
        if fault and not (fault in (SHORT, ODD) and mask and len(mask[0]) > 4):
            faults.append((ann, fault))
    if not objects:
        marked = len(file.annotations)
        raise UserError(
            f'{file.path} ({place}) has nothing to find: '
            + (
                f'all {marked:,} boxes are marked iscrowd; {file.remedy} --fix-ignored '
                'makes single objects of them'
                if marked
                else 'no annotation of a listed image has one of the classes; '
                f'{file.remedy} shows what there is'
            )
            + '; every AP would be -1'
        )
    if faults:
        ann, fault = faults[0]
        raise UserError(
            f'evaluation of masks stops or goes wrong at {len(faults):,} of the '
            f'{len(file.annotations):,} annotations of {file.path} ({place}), for instance '
            f'annotation {ann.get("id")}: {fault}; {file.remedy} --fix writes a file for masks '
            f'without them, or --cfg-options {place}.metric=bbox'
        )
    zero = sum(ann.get('id') == 0 and not ann['iscrowd'] for ann in file.annotations)
    if zero:
        print_log(
            f'{file.path} ({place}): an annotation has id 0, which COCO evaluation takes for '
            f'"not matched": the detection of its box counts as false; {file.remedy} --fix '
            'numbers the annotations from 1',
            logger='current',
            level=logging.WARNING,
        )
    most = max(objects.values())
    if most > 100:
        many = sum(count > 100 for count in objects.values())
        print_log(
            f'{file.path} ({place}): {many:,} images have more than 100 boxes, up to {most}: '
            'bbox_mAP is computed from the 100 best detections of an image and cannot reach '
            '1 there; bbox_mAP_50 and the others take 1000',
            logger='current',
            level=logging.WARNING,
        )
