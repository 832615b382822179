"""`fp32_modules='auto'`: what detectors of every family keep in float32, and that they train."""

import copy

import pytest
import torch
from model_zoo import DETECTORS, Detector, inputs

import mmadapt
from mmadapt.memory import families
from mmadapt.memory.families import find_islands
from mmadapt.memory.islands import keep_float32
from mmadapt.memory.matching import find_modules
from mmadapt.optim import AutocastOptimWrapper

_NARROW, _WIDTHS = dict(base_channels=16), [64, 128, 256, 512]
_FPN = dict(backbone=_NARROW, neck=dict(in_channels=_WIDTHS))
# Heads and necks with deformable convolutions, dynamic filters and products of predictions.
MORE = {
    'RepPoints': Detector('reppoints/reppoints-moment_r50_fpn_1x_coco.py', _FPN),
    'VFNet': Detector('vfnet/vfnet_r50-mdconv-c3-c5_fpn_ms-2x_coco.py', _FPN),
    'GFL': Detector('gfl/gfl_r50_fpn_1x_coco.py', _FPN),
    'AutoAssign': Detector('autoassign/autoassign_r50-caffe_fpn_1x_coco.py', _FPN),
    'DyHead': Detector(
        'dyhead/atss_r50_fpn_dyhead_1x_coco.py',
        dict(backbone=_NARROW, neck={0: dict(in_channels=_WIDTHS)}),
    ),
    'Mask Scoring R-CNN': Detector(
        'ms_rcnn/ms-rcnn_r50_fpn_1x_coco.py', dict(DETECTORS['Faster R-CNN'].changes), masks=True
    ),
    'DDQ': Detector(
        'ddq/ddq-detr-4scale_r50_8xb2-12e_coco.py',
        dict(
            backbone=_NARROW,
            neck=dict(in_channels=_WIDTHS[1:]),
            num_queries=12,
            encoder=dict(num_layers=1),
            decoder=dict(num_layers=2),
            dn_cfg=dict(group_cfg=dict(num_dn_queries=6)),
        ),
    ),
}
# What dies without: by which of its kernels or products.
DIE = dict.fromkeys(['RepPoints', 'VFNet', 'DyHead', 'deformable convolutions'], 'deformable')
DIE |= dict.fromkeys(
    [
        'Faster R-CNN',
        'Mask R-CNN, Swin',
        'Cascade R-CNN',
        'Mask Scoring R-CNN',
        'weight standardization',
    ],
    'Float but found BFloat16',
)
DIE |= {'AutoAssign': 'Index put requires', 'DDQ': 'Index put requires'}


def build(name):
    # Adapted and trained in float32: _calibrate computes in the type of the parameters.
    if name in DETECTORS:
        return DETECTORS[name].build()
    from mmdet.registry import MODELS
    from mmengine.hub import get_config
    from mmengine.registry import init_default_scope

    init_default_scope('mmdet')
    cfg = get_config(f'mmdet::{MORE[name].config}')
    changes = copy.deepcopy(MORE[name].changes)
    if isinstance(cfg.model.neck, list):
        cfg.model.neck[0].update(changes.pop('neck')[0])
    cfg.merge_from_dict(dict(model=changes))
    cfg.model.backbone.init_cfg = None
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    if hasattr(model, 'level_embed'):
        torch.nn.init.normal_(model.level_embed)  # holds what was in memory
    return model


def step(model, name):
    """Return the losses of a step in bfloat16 after their backward pass."""
    images, samples = inputs({**DETECTORS, **MORE}[name].masks)
    wrapper = AutocastOptimWrapper(
        'bfloat16',
        optimizer=torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-6),
    )
    torch.manual_seed(5)
    with wrapper.optim_context(model):
        losses = model.train().loss(images, samples)
        total, _ = model.parse_losses(losses)
    wrapper.update_params(total)
    return total, [
        t for value in losses.values() for t in (value if isinstance(value, list) else [value])
    ]


@pytest.mark.parametrize('name', [*DETECTORS, *MORE])
def test_a_detector_trains_and_finds_boxes_in_bfloat16(name):
    model = build(name)
    reference = copy.deepcopy(model).train()
    if name in DIE:
        with pytest.raises((RuntimeError, NotImplementedError), match=DIE[name]):
            step(copy.deepcopy(model), name)
    islands = keep_float32(model, 'auto')
    assert islands
    total, losses = step(model, name)
    assert {t.dtype for t in losses} == {torch.float32}
    assert total.isfinite()
    torch.manual_seed(5)
    with torch.no_grad():
        wanted = reference.parse_losses(reference.loss(*inputs({**DETECTORS, **MORE}[name].masks)))[
            0
        ]
    # Which regions a second stage samples hangs on the last digits.
    close = 0.3 if hasattr(model, 'roi_head') else 0.05
    assert total.item() == pytest.approx(wanted.item(), rel=close)
    images, samples = inputs()
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        found = model.eval().predict(images, samples, rescale=False)
    for sample in found:
        assert sample.pred_instances.scores.dtype == torch.float32
        assert sample.pred_instances.bboxes.isfinite().all()


# What it is to be, in the words of memory.fp32_modules.
WANTED = {
    'DINO': ['MultiScaleDeformableAttention', 'bbox_head', r'neck\..*\.gn'],
    'Deformable DETR': [
        'MultiScaleDeformableAttention',
        'bbox_head',
        'reference_points_fc',
        r'neck\..*\.gn',
    ],
    'RTMDet': ['bbox_head.rtm_cls', 'bbox_head.rtm_reg'],
    'Mask R-CNN': [r'.*\.(rpn_cls|rpn_reg|fc_cls|fc_reg|conv_logits)', 'BaseRoIExtractor'],
    'deformable convolutions': [
        r'.*\.(rpn_cls|rpn_reg|fc_cls|fc_reg)',
        'BaseRoIExtractor',
        'DeformConv2d',
    ],
    'Mask2Former': ['MultiScaleDeformableAttention'],
    'FCOS': ['bbox_head'],
}


@pytest.mark.parametrize('name', WANTED)
@pytest.mark.parametrize('adapted', [False, True])
def test_the_islands_of_a_family_are_these_adapted_or_not(name, adapted):
    model = DETECTORS[name].build()
    if adapted:
        mmadapt.inject(model, dict(method=dict(type='LoRA', r=2), allow_random_base=True))
    found, wanted = find_islands(model), find_modules(model, WANTED[name], 'wanted')

    def outermost(names):
        return {n for n in names if not any(n.startswith(f'{m}.') for m in names)}

    assert set(found) == outermost(wanted)
    if name == 'Mask2Former':
        assert keep_float32(model, 'auto')[-1] == 'panoptic_head.loss_by_feat'


def test_a_model_of_none_of_these_classes_needs_none():
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.Linear(4, 2))
    assert keep_float32(model, 'auto') == []


def named(*names, **parts):
    """Return a module whose class and those above it are called so, and that has these parts."""
    cls = torch.nn.Module
    for name in reversed(names):
        cls = type(name, (cls,), {})
    module = cls()
    for name, part in parts.items():
        module.add_module(name, part)
    return module


def layers(*names):
    return {name: torch.nn.Linear(2, 2) for name in names}


@pytest.mark.parametrize(
    ('head', 'islands'),
    [
        (
            named('Mine', 'RPNHead', **layers('rpn_conv', 'rpn_cls', 'rpn_reg')),
            ['.rpn_cls', '.rpn_reg'],
        ),
        (named('BBoxHead', **layers('shared_fcs', 'fc_cls', 'fc_reg')), ['.fc_cls', '.fc_reg']),
        (named('FCNMaskHead', **layers('convs', 'conv_logits')), ['.conv_logits']),
        (named('FusedSemanticHead', **layers('convs', 'conv_logits')), ['.conv_logits']),
        (
            named('PanopticFPNHead', 'BaseSemanticHead', **layers('a', 'conv_logits')),
            ['.conv_logits'],
        ),
        (
            named('RTMDetHead', 'BaseDenseHead', **layers('a', 'rtm_cls', 'rtm_reg')),
            ['.rtm_cls', '.rtm_reg'],
        ),
        (
            named('ConditionalDetrTransformerDecoder', **layers('a', 'ref_point_head')),
            ['.ref_point_head'],
        ),
        # They compute more than those they are derived from, or lack one of the layers.
        (named('RTMDetInsHead', 'RTMDetHead', **layers('rtm_cls', 'rtm_reg')), []),
        (named('RTMDetHead', 'BaseDenseHead', **layers('a', 'rtm_cls')), ['']),
        *[
            (
                named(
                    'StandardRoIHead', 'BaseRoIHead', bbox_head=named(name, base, **layers(*names))
                ),
                ['.bbox_head'],
            )
            for name, base, names in [
                ('MultiInstanceBBoxHead', 'BBoxHead', ('fc_cls', 'fc_reg')),
                ('GARPNHead', 'RPNHead', ('rpn_cls', 'rpn_reg')),
                ('StageCascadeRPNHead', 'RPNHead', ('rpn_cls', 'rpn_reg')),
                ('BBoxHead', 'BaseModule', ('fc_cls',)),
            ]
        ],
        # One derived from one that computes more does so too.
        (named('Mine', 'StageCascadeRPNHead', 'RPNHead', **layers('rpn_cls', 'rpn_reg')), []),
        # As a whole.
        *[
            (named('Mine', name, **layers('a')), [''])
            for name in ('BaseDenseHead', 'DETRHead', 'BaseMaskHead', 'BaseRoIExtractor')
        ],
        (named('MaskFormerHead', 'BaseDenseHead', **layers('a')), []),
        (
            named(
                'Mine',
                'BaseRoIHead',
                shared_head=named('ResLayer', **layers('a')),
                mask_iou_head=torch.nn.ModuleList([torch.nn.Linear(2, 2)] * 1),
            ),
            ['.mask_iou_head.0'],
        ),
        (
            named(
                'DeformableDETR',
                neck=torch.nn.Sequential(torch.nn.Conv2d(2, 2, 1), torch.nn.GroupNorm(1, 2)),
                **layers('backbone'),
            ),
            ['.neck.1'],
        ),
        (
            named(
                'Mine',
                'DeformableDETR',
                neck=torch.nn.Conv2d(2, 2, 1),
                **layers('reference_points_fc'),
            ),
            ['.reference_points_fc'],
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, torch.nn.Module) else '',
)
def test_each_class_of_the_table_says_what_of_it_is_an_island(head, islands):
    assert list(find_islands(torch.nn.ModuleDict(dict(head=head)))) == [
        f'head{name}' for name in islands
    ]


def test_every_class_of_the_table_is_one_of_mmdetections():
    import mmdet.models

    known = {
        base.__name__
        for cls in mmdet.registry.MODELS.module_dict.values()
        if isinstance(cls, type)
        for base in cls.__mro__
    } | {*vars(mmdet.models.layers)}
    table = {
        *families._LAYERS,
        *families._NOT_ONLY,
        *families._LOSSES,
        *families._WHOLE,
        *families._DEFORMABLE,
        'BaseRoIHead',
    }
    assert table <= known, table - known
