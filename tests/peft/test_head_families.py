"""The head policy on stock models of every family, with their classes and with others.

They are built on the meta device: what becomes of a layer depends on no value. Which layers depend
on the number of classes is read from the state dicts of two builds.
"""

import copy
import functools
import importlib.util
import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from mmadapt import UserError, inject
from mmadapt.adapters import AdapterLayer
from mmadapt.peft.heads import find_heads

# Name: (library, config, heads, what `auto` means, layers that depend on the number of classes).
FAMILIES = {
    'RTMDet': (
        'mmdet',
        'rtmdet/rtmdet_tiny_8xb32-300e_coco.py',
        {'bbox_head'},
        'train',
        r'bbox_head\.rtm_cls\.\d',
    ),
    'RTMDet-Ins': (
        'mmdet',
        'rtmdet/rtmdet-ins_tiny_8xb32-300e_coco.py',
        {'bbox_head'},
        'train',
        r'bbox_head\.rtm_cls\.\d',
    ),
    'YOLOX': (
        'mmdet',
        'yolox/yolox_tiny_8xb8-300e_coco.py',
        {'bbox_head'},
        'train',
        r'bbox_head\.multi_level_conv_cls\.\d',
    ),
    'RetinaNet': (
        'mmdet',
        'retinanet/retinanet_r50_fpn_1x_coco.py',
        {'bbox_head'},
        'train',
        r'bbox_head\.retina_cls',
    ),
    'FCOS': (
        'mmdet',
        'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py',
        {'bbox_head'},
        'train',
        r'bbox_head\.conv_cls',
    ),
    'Faster R-CNN': (
        'mmdet',
        'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
        {'rpn_head', 'roi_head'},
        'adapt',
        r'roi_head\.bbox_head\.fc_(cls|reg)',
    ),
    'Mask R-CNN': (
        'mmdet',
        'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
        {'rpn_head', 'roi_head'},
        'adapt',
        r'roi_head\.(bbox_head\.fc_(cls|reg)|mask_head\.conv_logits)',
    ),
    'Cascade Mask R-CNN': (
        'mmdet',
        'cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py',
        {'rpn_head', 'roi_head'},
        'adapt',
        r'roi_head\.(bbox_head\.\d\.fc_cls|mask_head\.\d\.conv_logits)',
    ),
    'DETR': (
        'mmdet',
        'detr/detr_r50_8xb2-150e_coco.py',
        {'bbox_head'},
        'train',
        r'bbox_head\.fc_cls',
    ),
    'Deformable DETR': (
        'mmdet',
        'deformable_detr/deformable-detr_r50_16xb2-50e_coco.py',
        {'bbox_head'},
        'train',
        r'bbox_head\.cls_branches\.\d',
    ),
    # The label embedding of its denoising queries belongs to the body.
    'DINO': (
        'mmdet',
        'dino/dino-4scale_r50_8xb2-12e_coco.py',
        {'bbox_head'},
        'train',
        r'bbox_head\.cls_branches\.\d|dn_query_generator\.label_embedding',
    ),
    'Mask2Former': (
        'mmdet',
        'mask2former/mask2former_r50_8xb2-lsj-50e_coco-panoptic.py',
        {'panoptic_head'},
        'adapt',
        r'panoptic_head\.cls_embed',
    ),
    'MaskFormer': (
        'mmdet',
        'maskformer/maskformer_r50_ms-16xb1-75e_coco.py',
        {'panoptic_head'},
        'adapt',
        r'panoptic_head\.cls_embed',
    ),
    'Panoptic FPN': (
        'mmdet',
        'panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py',
        {'rpn_head', 'roi_head', 'semantic_head'},
        'adapt',
        r'roi_head\.(bbox_head\.fc_(cls|reg)|mask_head\.conv_logits)'
        r'|semantic_head\.conv_logits',
    ),
    'QDTrack': (
        'mmdet',
        'qdtrack/qdtrack_faster-rcnn_r50_fpn_4e_base.py',
        {'detector.rpn_head', 'detector.roi_head', 'track_head'},
        'adapt',
        r'detector\.roi_head\.bbox_head\.fc_(cls|reg)',
    ),
    'FCN': (
        'mmseg',
        'fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py',
        {'decode_head', 'auxiliary_head'},
        'adapt',
        r'(decode|auxiliary)_head\.conv_seg',
    ),
    'OCRNet': (
        'mmseg',
        'ocrnet/ocrnet_hr18_4xb2-40k_cityscapes-512x1024.py',
        {'decode_head'},
        'adapt',
        r'decode_head\.[01]\.conv_seg',
    ),
    'STDC': (
        'mmseg',
        'stdc/stdc1_4xb12-80k_cityscapes-512x1024.py',
        {'decode_head', 'auxiliary_head'},
        'adapt',
        r'(decode_head|auxiliary_head\.[0-2])\.conv_seg',
    ),
    'MobileNetV2': (
        'mmpretrain',
        'mobilenet_v2/mobilenet-v2_8xb32_in1k.py',
        {'head'},
        'adapt',
        r'head\.fc',
    ),
    'DeiT': (
        'mmpretrain',
        'deit/deit-tiny-distilled_4xb256_in1k.py',
        {'head'},
        'adapt',
        r'head\.layers\.head(_dist)?',
    ),
    'heatmap': (
        'mmpose',
        'body_2d_keypoint/topdown_heatmap/coco/td-hm_res50_8xb64-210e_coco-256x192.py',
        {'head'},
        'adapt',
        r'head\.final_layer',
    ),
    'SimCC': (
        'mmpose',
        'body_2d_keypoint/simcc/coco/simcc_res50_8xb64-210e_coco-256x192.py',
        {'head'},
        'adapt',
        r'head\.deconv_head\.final_layer',
    ),
    'RTMPose': (
        'mmpose',
        'body_2d_keypoint/rtmpose/coco/rtmpose-t_8xb256-420e_coco-256x192.py',
        {'head'},
        'adapt',
        r'head\.final_layer',
    ),
    'RTMO': (
        'mmpose',
        'body_2d_keypoint/rtmo/coco/rtmo-s_8xb32-600e_coco-640x640.py',
        {'head'},
        'adapt',
        r'head\.(head_module\.out_(cls|kpt_reg|kpt_vis)\.\d'
        r'|dcc(\.pose_to_kpts\.[01]|\.sigma_fc\.0)?)',
    ),
    # Its last layer, that of a heat map head within, is as the number of joints says.
    'DSNT': (
        'mmpose',
        'body_2d_keypoint/integral_regression/coco/ipr_res50_dsnt-8xb64-210e_coco-256x256.py',
        {'head'},
        'adapt',
        r'head\.simplebaseline_head\.final_layer',
    ),
}
LORA = dict(type='LoRA', r=1)
COUNTS = ('num_classes', 'num_things_classes', 'num_stuff_classes', 'num_keypoints', 'num_joints')


@functools.cache
def build_once(library, name, few_classes):
    pytest.importorskip(f'{library}.models')
    from mmengine.registry import MODELS, init_default_scope

    init_default_scope(library)
    root = Path(importlib.util.find_spec(library).origin).parent / '.mim' / 'configs'
    cfg = Config.fromfile(root / name).model
    if few_classes:
        reduce(cfg)
    with torch.device('meta'):
        return MODELS.build(cfg)


def reduce(node):
    """Set all numbers of classes and key points in a config to 3, at any depth."""
    for item in node.values() if isinstance(node, dict) else node:
        if isinstance(item, (dict, list, tuple)):
            reduce(item)
    if isinstance(node, dict):
        node.update({key: 3 for key in COUNTS if key in node})
        if node.get('out_channels') == 17:
            node['out_channels'] = 3


@pytest.fixture(params=FAMILIES)
def family(request):
    library, name, *wanted = FAMILIES[request.param]
    return copy.deepcopy(build_once(library, name, False)), *wanted


@pytest.fixture(params=FAMILIES)
def other_classes(request):
    """A model with few classes, and the keys for which a checkpoint with many does not fit."""
    library, name, *wanted = FAMILIES[request.param]
    model = copy.deepcopy(build_once(library, name, True))
    shapes = {key: t.shape for key, t in build_once(library, name, False).state_dict().items()}
    keys = [key for key, t in model.state_dict().items() if shapes.get(key) != t.shape]
    return model, keys, *wanted


def trained(model):
    """Modules with parameters that train, other than those of an adapter."""
    return {
        m
        for m in model.modules()
        if any(
            p.requires_grad
            for name, p in m.named_parameters(recurse=False)
            if not name.startswith('lora_')
        )
    }


def grouped(modules):
    return {m for m in modules if isinstance(m, _ConvNd) and m.groups > 1}


def in_heads(model):
    return {m for head in find_heads(model).values() for m in head.modules()}


def dense(modules):
    """Attentions, Linear layers and ungrouped convolutions but for those inside an attention."""
    inside = {m.out_proj for m in modules if isinstance(m, nn.MultiheadAttention)}
    kinds = (nn.Linear, nn.MultiheadAttention, _ConvNd)
    return {m for m in modules - inside if isinstance(m, kinds) and getattr(m, 'groups', 1) == 1}


def assert_policy(model, policy, can_train):
    """Assert what a policy makes of a head, given its modules whose parameters may train."""
    head = in_heads(model)
    adapted = {m for m in head if isinstance(m, AdapterLayer)}
    if policy == 'train':
        assert trained(model) & head == can_train
        assert not adapted
    elif policy == 'freeze':
        assert not trained(model) & head
        assert not adapted
    else:
        assert trained(model) & head == grouped(head)
        assert dense(head) <= adapted
    norms = {m for m in head if isinstance(m, _BatchNorm)}
    assert {m.training for m in norms} <= {policy == 'train'}


def trainable(model):
    return {m for m in in_heads(model) if any(p.requires_grad for p in m.parameters(recurse=False))}


@pytest.mark.parametrize('policy', ['auto', 'train', 'adapt', 'freeze'])
def test_a_pretrained_head_follows_the_policy(family, policy):
    model, heads, auto, _ = family
    assert set(find_heads(model)) == heads
    can_train = trainable(model)
    report = inject(model, dict(method=LORA, head=policy))
    assert not [line for line in report.warnings if 'head' in line]
    model.train()
    assert_policy(model, auto if policy == 'auto' else policy, can_train)
    assert not trained(model) - in_heads(model) - grouped(model.modules())


def test_a_pretrained_head_that_a_list_of_targets_leaves_out_is_frozen_or_trained(family):
    model, _, auto, _ = family
    can_train = trainable(model)
    inject(model, dict(method=LORA, targets=[r'.*backbone\..*conv.*|backbone\..*']))
    model.train()
    assert_policy(model, 'train' if auto == 'train' else 'freeze', can_train)


@pytest.mark.parametrize(
    'peft',
    [
        dict(head='freeze'),
        dict(head='adapt', targets='all'),
        dict(head='auto'),
        dict(head='auto', targets=[r'.*backbone\..*']),
        dict(head='freeze', exclude=['.*']),
    ],
    ids=str,
)
def test_exactly_the_layers_of_other_classes_train_fully(other_classes, peft):
    model, keys, _, auto, pattern = other_classes
    names = {key.rpartition('.')[0] for key in keys}
    assert names == {
        name
        for name, module in model.named_modules(remove_duplicate=False)
        if module._parameters and re.fullmatch(pattern, name)
    }
    wanted = {model.get_submodule(name) for name in names}
    if peft['head'] == 'auto' and auto == 'train':
        wanted |= trainable(model)
    if 'exclude' in peft:
        peft = dict(peft, method=None)
    else:
        peft = dict(peft, method=LORA)
        if 'targets' not in peft:
            frozen = in_heads(model) if peft['head'] == 'freeze' else set()
            wanted |= grouped(model.modules()) - frozen
    inject(model, peft, keys)
    model.train()
    assert trained(model) == wanted
    assert not any(isinstance(module, AdapterLayer) for module in wanted)


def test_a_list_of_layers_trains_those_and_adapts_the_rest_of_the_head(family):
    model, _, _, pattern = family
    inject(model, dict(method=LORA, head=[pattern]))
    named = {
        m
        for name, module in model.named_modules(remove_duplicate=False)
        if re.fullmatch(pattern, name)
        for m in module.modules()
        if m._parameters
    }
    head = in_heads(model)
    assert trained(model) == named | grouped(model.modules())
    assert dense(head) - named <= {m for m in head if isinstance(m, AdapterLayer)}


@pytest.mark.parametrize(
    ('name', 'limit'), [('DETR', 0.01), ('Deformable DETR', 0.03), ('DINO', 0.03)]
)
def test_the_head_of_a_detr_is_small_enough_to_train_fully(name, limit):
    model = build_once(*FAMILIES[name][:2], False)
    head = sum(p.numel() for p in model.bbox_head.parameters())
    assert head < limit * sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(('name', 'constant'), [('STDC', 'auxiliary_head.2'), ('DSNT', 'head')])
def test_a_constant_of_a_head_needs_no_pretrained_weight(name, constant):
    model = copy.deepcopy(build_once(*FAMILIES[name][:2], False))
    keys = [key for key in model.state_dict() if not key.startswith('backbone.')]
    report = inject(model, dict(method=LORA), keys)
    assert {(row.action, row.why) for row in report.layers if row.name == constant} == {
        ('freeze', 'a constant of the head')
    }
    assert trained(model) & in_heads(model) == trainable(model)


def test_a_random_layer_that_a_head_keeps_frozen_is_refused():
    model = copy.deepcopy(build_once(*FAMILIES['RetinaNet'][:2], False))
    model.bbox_head.retina_cls.requires_grad_(False)
    with pytest.raises(UserError, match='bbox_head.retina_cls is kept frozen by the model'):
        inject(model, dict(method=LORA), ['bbox_head.retina_cls.weight'])
