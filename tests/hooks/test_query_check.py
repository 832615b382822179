"""Detectors that choose more than there is: said before the run, or at the batch that shows it."""

import copy
from types import SimpleNamespace

import pytest
import torch
from mmengine.registry import init_default_scope
from model_zoo import _WIDTHS, DETECTORS, Detector, inputs
from torch import nn

from mmadapt import UserError
from mmadapt.hooks.query_check import check_boxes_wanted, check_sizes, watch_tokens
from mmadapt.hooks.topk_check import check_topk

SPARSE = Detector(
    'sparse_rcnn/sparse-rcnn_r50_fpn_1x_coco.py',
    dict(
        backbone=dict(base_channels=16),
        neck=dict(in_channels=_WIDTHS),
        rpn_head=dict(num_proposals=4),
        roi_head=dict(bbox_head=dict.fromkeys('012345', dict(num_classes=2))),
        test_cfg=dict(rcnn=dict(max_per_img=9)),
    ),
)


def detector(name, **changes):
    found = DETECTORS[name]
    changed = copy.deepcopy(found.changes)
    for key, value in changes.items():
        node = changed
        *path, last = key.split('__')
        for step in path:
            node = node.setdefault(step, {})
        node[last] = value
    return Detector(found.config, changed, found.masks)


@pytest.fixture(autouse=True)
def _as_built(monkeypatch):
    for name in ('_calibrate', '_randomize'):
        monkeypatch.setattr(f'model_zoo.{name}', lambda *_: None)


@pytest.mark.parametrize(
    ('found', 'option', 'right'),
    [
        (
            detector('DINO', bbox_head__num_classes=1, test_cfg__max_per_img=13),
            'model.test_cfg.max_per_img',
            12,
        ),
        (detector('DETR', test_cfg__max_per_img=13), 'model.test_cfg.max_per_img', 12),
        (SPARSE, 'model.test_cfg.rcnn.max_per_img', 8),
        (
            detector(
                'Mask2Former',
                panoptic_head__num_things_classes=1,
                panoptic_fusion_head__num_things_classes=1,
                panoptic_head__num_stuff_classes=0,
                panoptic_fusion_head__num_stuff_classes=0,
                test_cfg__max_per_image=13,
                panoptic_head__loss_cls__class_weight=[1.0, 0.1],
            ),
            'model.test_cfg.max_per_image',
            12,
        ),
    ],
    ids=['DINO', 'DETR', 'Sparse R-CNN', 'Mask2Former'],
)
def test_more_boxes_than_queries_give(found, option, right):
    model = found.build()
    works = found is not SPARSE  # whose random boxes are none that can be pooled
    with pytest.raises(RuntimeError, match='selected index k out of range' if works else ''):
        found.predictions(model)
    with pytest.raises(UserError, match=rf'{option}=\d+ of .* --cfg-options {option}={right}$'):
        check_boxes_wanted(model)
    node = (
        model.panoptic_fusion_head
        if 'image' in option
        else model.roi_head
        if 'rcnn' in option
        else model.bbox_head
    )
    node.test_cfg[option.split('.')[-1]] = right
    check_boxes_wanted(model)
    assert not works or found.predictions(model)


@pytest.mark.parametrize('name', ['DINO', 'Deformable DETR, refined in two stages'])
def test_fewer_tokens_than_queries(name):
    # 96 pixels have 144 + 36 + 9 + 4 tokens on strides of 8 to 64.
    model = detector(
        name, num_queries=194, bbox_head__num_classes=3, test_cfg__max_per_img=9
    ).build()
    images, samples = inputs()
    with torch.no_grad(), pytest.raises(RuntimeError, match='selected index k out of range'):
        model.predict(images, samples)
    handles = watch_tokens(model)
    with (
        torch.no_grad(),
        pytest.raises(
            UserError, match='have 193 tokens on all levels, and the model chooses num_queries=194'
        ),
    ):
        model.predict(images, samples)
    pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(96, 96))]
    with pytest.raises(UserError, match='images of val_dataloader, at most 96 x 96, have 193 tok'):
        check_sizes(model, dict(val_dataloader=pipeline))
    check_sizes(model, dict(val_dataloader=[dict(type='Resize', scale=(97, 96))]))
    check_sizes(model, dict(val_dataloader=[dict(type='Mosaic')]))

    [handle.remove() for handle in handles]
    model = detector(
        name, num_queries=193, bbox_head__num_classes=3, test_cfg__max_per_img=9
    ).build()
    handles = watch_tokens(model)
    check_sizes(model, dict(val_dataloader=pipeline))
    with torch.no_grad():
        model.predict(images, samples)
    [handle.remove() for handle in handles]
    assert not model.encoder._forward_hooks


@pytest.mark.parametrize('name', ['RTMDet', 'Faster R-CNN', 'Mask2Former', 'Deformable DETR'])
def test_others_are_left_in_peace(name):
    model = DETECTORS[name].build()
    check_boxes_wanted(model)
    check_sizes(model, dict(train_dataloader=[dict(type='Resize', scale=(16, 16))]))
    assert watch_tokens(model) == []


def test_accuracy_of_more_classes_than_there_are():
    class Accuracy:
        topk = (1, 5)

    model = nn.Module()
    model.head = SimpleNamespace(num_classes=3, topk=(1, 5), cal_acc=False)
    with pytest.raises(
        UserError,
        match=r'val_evaluator.topk=\(1, 5\) of 3 classes: the first '
        r'validation would fail; write topk=\(1,\)',
    ):
        check_topk(model, [Accuracy()], 'val_evaluator')
    check_topk(model, [], 'val_evaluator')
    model.head.cal_acc = True
    with pytest.raises(UserError, match=r'model.head.topk=\(1, 5\) of 3 classes: the first train'):
        check_topk(model, [], 'val_evaluator')
    model.head.num_classes = 5
    check_topk(model, [Accuracy()], 'val_evaluator')


def test_accuracy_of_mmpretrain():
    pytest.importorskip('mmpretrain', exc_type=ImportError)
    from mmpretrain.evaluation import Accuracy
    from mmpretrain.models.heads import LinearClsHead

    init_default_scope('mmpretrain')  # where its loss is looked for, whatever ran before
    model = nn.Module()
    model.head = LinearClsHead(num_classes=3, in_channels=4, topk=(1, 5), cal_acc=True)
    metric = Accuracy(topk=(1, 5))
    with pytest.raises(ValueError, match='Top-5 accuracy is unavailable'):
        metric.calculate(torch.rand(2, 3), torch.tensor([0, 1]), topk=(1, 5))
    with pytest.raises(UserError, match=r'val_evaluator.topk=\(1, 5\) of 3 classes'):
        check_topk(model, [metric], 'val_evaluator')
    with pytest.raises(UserError, match='model.head.topk'):
        check_topk(model, [Accuracy(topk=1)], 'val_evaluator')
