"""Whether a detector with queries has as many candidates as it is going to choose."""

import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

from torch import nn

from ..errors import UserError
from ..preflight.input_sizes import largest_image, tokens_of

_ERROR = "'selected index k out of range'"


def check_boxes_wanted(model: nn.Module) -> None:
    """Check that no more boxes of an image are wanted than a model's queries can give.

    Args:
        model (nn.Module): A detector, not wrapped.

    Raises:
        UserError: There are, so that the first validation would fail.
    """
    for option, wanted, queries, classes in _choices(model):
        if wanted is not None and queries is not None and wanted > queries * classes:
            times = f' x {classes} classes = {queries * classes}' if classes > 1 else ''
            raise UserError(
                f'{option}={wanted} of {queries} queries{times}: the first validation would end '
                f'in {_ERROR}; --cfg-options {option}={queries * classes}'
            )


def _choices(model: nn.Module) -> Iterator[tuple[str, int | None, int | None, int]]:
    """Yield option, what it wants, and the queries and classes that it is chosen from."""
    if not _knows_mmdet():
        return
    from mmdet.models.dense_heads import DETRHead, GroundingDINOHead
    from mmdet.models.roi_heads import SparseRoIHead
    from mmdet.models.seg_heads import MaskFormerFusionHead

    head = getattr(model, 'bbox_head', None)
    if isinstance(head, DETRHead) and not isinstance(head, GroundingDINOHead):
        several = head.num_classes if head.loss_cls.use_sigmoid else 1
        yield (
            'model.test_cfg.max_per_img',
            (head.test_cfg or {}).get('max_per_img'),
            getattr(model, 'num_queries', None),
            several,
        )
    roi = getattr(model, 'roi_head', None)
    if isinstance(roi, SparseRoIHead):
        yield (
            'model.test_cfg.rcnn.max_per_img',
            (roi.test_cfg or {}).get('max_per_img'),
            getattr(model.rpn_head, 'num_proposals', None),
            roi.bbox_head[-1].num_classes,
        )
    fusion = getattr(model, 'panoptic_fusion_head', None)
    if isinstance(fusion, MaskFormerFusionHead) and (fusion.test_cfg or {}).get(
        'instance_on', False
    ):
        yield (
            'model.test_cfg.max_per_image',
            fusion.test_cfg.get('max_per_image', 100),
            getattr(model.panoptic_head, 'num_queries', None),
            fusion.num_classes,
        )


def check_sizes(model: Any, pipelines: dict[str, list]) -> None:
    """Check that pipelines make images of enough tokens, where their steps say how large these are.

    Args:
        model (nn.Module): A detector, not wrapped.
        pipelines (dict[str, list]): Steps by the name that messages give them.

    Raises:
        UserError: All images of one of them have fewer tokens than the model has queries.
    """
    strides = _strides(model) if _chooses_tokens(model) else None
    if strides is None:
        return
    divisor = getattr(model.data_preprocessor, 'pad_size_divisor', 1) or 1
    for name, pipeline in pipelines.items():
        size = largest_image(pipeline)
        if size is not None and tokens_of(size, strides, divisor) < model.num_queries:
            raise UserError(
                _too_few(
                    f'the images of {name}, at most {size[1]} x {size[0]}, have',
                    tokens_of(size, strides, divisor),
                    model,
                )
            )


def watch_tokens(model: Any) -> list:
    """Have a detector say at a batch of images that are too small what is wrong with them.

    Args:
        model (nn.Module): A detector, not wrapped.

    Returns:
        list: Handles, to be removed when it is not going to run any more.
    """
    if not _chooses_tokens(model):
        return []
    return [model.encoder.register_forward_hook(partial(_look, model.num_queries))]


def _look(queries: int, encoder: nn.Module, inputs, output) -> None:
    memory = output[0] if isinstance(output, (tuple, list)) else output
    if memory.shape[1] < queries:
        raise UserError(_too_few('the images of a batch have', memory.shape[1], queries))


def _too_few(what: str, tokens: int, queries) -> str:
    queries = getattr(queries, 'num_queries', queries)
    return (
        f'{what} {tokens} tokens on all levels, and the model chooses num_queries={queries} of '
        f'them, which would end in {_ERROR}: make the images larger in the pipeline, or write '
        f'--cfg-options model.num_queries={max(1, tokens // 3)}'
    )


def _chooses_tokens(model: nn.Module) -> bool:
    if not _knows_mmdet():
        return False
    from mmdet.models.detectors import DDQDETR, DINO, DeformableDETR

    # DDQ takes what is there.
    return (
        isinstance(model, DeformableDETR)
        and not isinstance(model, DDQDETR)
        and (isinstance(model, DINO) or model.as_two_stage)
    )


def _strides(model: nn.Module) -> list[int] | None:
    from mmdet.models import ResNet, SwinTransformer
    from mmdet.models.necks import ChannelMapper

    if not isinstance(model.backbone, (ResNet, SwinTransformer)) or not isinstance(
        model.neck, ChannelMapper
    ):
        return None
    strides = [4 * 2**index for index in model.backbone.out_indices]
    # Further levels halve the last one.
    for _ in getattr(model.neck, 'extra_convs', None) or ():
        strides.append(2 * strides[-1])
    return strides


def _knows_mmdet() -> bool:
    return 'mmdet.models' in sys.modules  # without which no model is a detector of it
