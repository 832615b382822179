"""What models see, one object at a time, and what several of them see in one place."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmdet.structures.bbox import bbox_overlaps

from ..errors import UserError
from .resident import View


@dataclass
class Instance:
    """One object.

    Args:
        name (str): Of its class.
        score (float): From 0 to 1.
        box (tuple[float, float, float, float]): x1, y1, x2, y2 in pixels of the image.
        adapter (str): What has seen it; ``'none'`` is the base.
        label (int): Its class's number in what has seen it.
        mask (np.ndarray, optional): Bool, of the image's shape (H, W).
        keypoints (np.ndarray, optional): (K, 3): x and y in pixels, and a score.
    """

    name: str
    score: float
    box: tuple[float, float, float, float]
    adapter: str
    label: int
    mask: np.ndarray | None = None
    keypoints: np.ndarray | None = None


def instances_of(samples: Sequence[Any], view: View) -> list[Instance]:
    """Return the objects in what a model has predicted, the surest first.

    Args:
        samples (Sequence): The samples of one image: one, or one for each box that it was given.
        view (View): How the model computed.
    """
    found = []
    for sample in samples:
        predicted = getattr(sample, 'pred_instances', None)
        if 'pred_panoptic_seg' in sample:
            raise UserError('panoptic segments are not written: take a config of instances')
        if predicted is None:
            continue
        scores = _array(predicted, 'scores', 'bbox_scores')
        boxes, labels = _array(predicted, 'bboxes'), _array(predicted, 'labels')
        masks, points = predicted.get('masks'), _array(predicted, 'keypoints')
        point_scores = _array(predicted, 'keypoint_scores')
        if boxes is None and points is not None:  # as of models that find points alone
            boxes = np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1)
        if scores is None and point_scores is not None:
            scores = point_scores.mean(axis=1)
        for i, box in enumerate(boxes if boxes is not None else ()):
            label = 0 if labels is None else int(labels[i])
            keypoints = None
            if points is not None and point_scores is not None:
                keypoints = np.concatenate([points[i], point_scores[i][:, None]], axis=1)
            found.append(
                Instance(
                    _name(view, label, points is not None),
                    float(scores[i]) if scores is not None else 1.0,
                    tuple(float(value) for value in box),  # type: ignore[arg-type]  # of 4
                    view.name,
                    label,
                    None if masks is None else _mask(masks[i]),
                    keypoints,
                )
            )
    return sorted(found, key=lambda instance: -instance.score)


def join(instances: Sequence[Instance], iou: float) -> list[Instance]:
    """Join what several have seen: of objects of one class in one place the surest stays.

    Only what different adapters have seen is compared, as each has compared its own already.

    Args:
        instances (Sequence[Instance]): Of one image, in any order.
        iou (float): Boxes of the same class name that overlap by more are one object: the area
            that they share in that of both.

    Returns:
        list[Instance]: The surest first.
    """
    kept: list[Instance] = []
    for instance in sorted(instances, key=lambda each: -each.score):
        rivals = [k for k in kept if k.name == instance.name and k.adapter != instance.adapter]
        if rivals:
            boxes = torch.tensor([k.box for k in rivals], dtype=torch.float64)
            own = torch.tensor([instance.box], dtype=torch.float64)
            if float(bbox_overlaps(own, boxes).max()) > iou:
                continue
        kept.append(instance)
    return kept


def _name(view: View, label: int, is_pose: bool) -> str:
    names = view.class_names
    if label < len(names):
        return names[label]
    return str(view.meta.get('dataset_name', 'object')) if is_pose else f'class {label}'


def _array(predicted: Any, *names: str) -> np.ndarray | None:
    value = next((predicted.get(name) for name in names if name in predicted), None)
    if value is None:
        return None
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)


def _mask(mask: Any) -> np.ndarray:
    return (mask.cpu().numpy() if isinstance(mask, torch.Tensor) else np.asarray(mask)).astype(bool)
