"""Heads given another number of classes: they know what a head built with that number knows."""

import pytest
import torch
from torch import Tensor

from mmadapt import UserError
from mmadapt.peft import CLASS_COUNTS, fit_class_counts

_SMALL = dict(backbone=dict(depth=18, base_channels=16), neck=dict(in_channels=[16, 32, 64, 128]))
_DETR = dict(
    backbone=dict(depth=18, base_channels=16),
    encoder=dict(num_layers=1),
    decoder=dict(num_layers=1),
)
_CASCADE = 'cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py'


def segmenter(classes):
    head = dict(
        num_things_classes=classes,
        num_stuff_classes=0,
        feat_channels=32,
        out_channels=32,
        loss_cls=dict(class_weight=[1.0] * classes + [0.1]),
    )
    return dict(
        backbone=dict(depth=18, base_channels=16),
        panoptic_fusion_head=dict(num_things_classes=classes, num_stuff_classes=0),
        panoptic_head={**head, 'in_channels': [16, 32, 64, 128]},
    )


MODELS = {
    'DETR': (
        'detr/detr_r50_8xb2-150e_coco.py',
        lambda n: {**_DETR, 'neck': dict(in_channels=[128])},
    ),
    'DINO': (
        'dino/dino-4scale_r50_8xb2-12e_coco.py',
        lambda n: {**_DETR, 'neck': dict(in_channels=[32, 64, 128])},
    ),
    'Cascade Mask R-CNN': (_CASCADE, lambda n: _SMALL),
    'SSD': ('ssd/ssd300_coco.py', lambda n: {}),
    'YOLOX': ('yolox/yolox_tiny_8xb8-300e_coco.py', lambda n: {}),
    'Mask2Former': ('mask2former/mask2former_r50_8xb2-lsj-50e_coco.py', segmenter),
}


@pytest.fixture
def build(build_detector):

    def make(kind, classes):
        name, changes = MODELS[kind]
        return build_detector(name, classes, **changes(classes)).eval()

    return make


def known(model):
    """What the modules of a model know, beside its tensors."""
    values = {
        (name, key): value.tolist() if isinstance(value, Tensor) else value
        for name, m in model.named_modules()
        for key, value in vars(m).items()
    }
    return {
        key: value
        for key, value in values.items()
        if isinstance(value, (int, float, str))
        or (isinstance(value, (tuple, list)) and all(isinstance(v, (int, float)) for v in value))
    }


def adapter_of(model, base):
    """The tensors of a model that have another shape in its base, and its record of its counts."""
    shapes = {key: value.shape for key, value in base.state_dict().items()}
    counts = {
        name: {
            key: value
            for key, value in vars(m).items()
            if key in CLASS_COUNTS and type(value) is int
        }
        for name, m in model.named_modules()
    }
    return {
        key: value for key, value in model.state_dict().items() if value.shape != shapes[key]
    }, counts


@pytest.mark.parametrize('noted', [True, False])
@pytest.mark.parametrize('kind', MODELS)
def test_a_model_knows_all_that_one_built_with_that_number_of_classes_knows(build, kind, noted):
    model, wanted = build(kind, 3), build(kind, 7)
    tensors, counts = adapter_of(wanted, model)
    assert tensors
    old = {key: (value, value.clone()) for key, value in model.state_dict(keep_vars=True).items()}
    if not noted and kind == 'Mask2Former':
        with pytest.raises(UserError, match='FILE does not say how many classes panoptic_head'):
            fit_class_counts(model, tensors, {}, None, 'FILE')
        return
    fit_class_counts(model, tensors, counts if noted else {}, None, 'FILE')
    assert known(model) == known(wanted)
    model.load_state_dict(wanted.state_dict(), strict=True)
    assert not any(
        old[key][0] is value
        for key, value in model.state_dict(keep_vars=True).items()
        if key in tensors
    )
    for key in tensors:
        assert torch.equal(*old[key]), key


def test_shapes_that_several_numbers_explain_are_refused_unless_there_are_names(build_detector):
    # One class and a background made two outputs; six are three classes twice, or five and one.
    changes = dict(
        _SMALL, roi_head=dict(bbox_head=dict(fc_out_channels=8, reg_class_agnostic=True))
    )
    name = 'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
    wanted = build_detector(name, 5, **changes)
    for class_names in (None, ['a', 'b', 'c', 'd', 'e']):
        model = build_detector(name, 1, **changes)
        tensors, _ = adapter_of(wanted, model)
        if class_names is None:
            with pytest.raises(UserError, match='this model has 1, and an output of 2 became 6'):
                fit_class_counts(model, tensors, {}, class_names, 'FILE')
            continue
        fit_class_counts(model, tensors, {}, class_names, 'FILE')
        assert model.roi_head.bbox_head.num_classes == 5
        assert model.rpn_head.num_classes == 1
