"""Which part of a model is its head and what `head='auto'` makes of it."""

import pytest
from torch import nn

from mmadapt import UserError
from mmadapt.tuning.heads import find_heads, resolve_head_policy

ONE_STAGE = 'rtmdet/rtmdet_tiny_8xb32-300e_coco.py'
TWO_STAGE = 'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
CASCADE = 'cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py'


@pytest.mark.parametrize(('name', 'heads', 'policy'), [
    (ONE_STAGE, {'bbox_head'}, 'train'),
    (TWO_STAGE, {'rpn_head', 'roi_head'}, 'adapt'),
    (CASCADE, {'rpn_head', 'roi_head'}, 'adapt'),
    ('yolox/yolox_tiny_8xb8-300e_coco.py', {'bbox_head'}, 'train'),
    ('fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py', {'bbox_head'}, 'train'),
    ('detr/detr_r50_8xb2-150e_coco.py', {'bbox_head'}, 'train'),
    ('rtmdet/rtmdet-ins_tiny_8xb32-300e_coco.py', {'bbox_head'}, 'train'),
])
def test_heads_of_stock_detectors_are_found(build_detector, name, heads, policy):
    found = find_heads(build_detector(name, num_classes=80))
    assert set(found) == heads
    assert resolve_head_policy('auto', found, True)[0] == policy


def test_only_children_with_the_very_name_are_heads():
    model = nn.ModuleDict({name: nn.Linear(1, 1) for name in (
        'head', 'decode_head', 'auxiliary_heads', 'backbone', 'forehead', 'header', 'head_conv')})
    assert set(find_heads(model)) == {'head', 'decode_head', 'auxiliary_heads'}


def test_without_a_method_the_head_trains():
    assert resolve_head_policy('auto', {'roi_head': nn.Linear(1, 1)}, False)[0] == 'train'


@pytest.mark.parametrize('policy', ['train', 'adapt', 'freeze', ['bbox_head.cls']])
def test_what_is_said_is_done(policy):
    assert resolve_head_policy(policy, {'bbox_head': nn.Linear(1, 1)}, True)[0] == policy


def test_adapting_the_head_without_a_method_is_refused():
    with pytest.raises(UserError, match="head='adapt' needs a peft.method .*head='train'"):
        resolve_head_policy('adapt', {}, False)
