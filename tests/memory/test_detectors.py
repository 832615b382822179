"""Stock detectors train in less memory, and compute what they computed."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmadapt import UserError, inject
from mmadapt.adapters import AdapterLayer
from mmadapt.memory import MemoryConfig, apply_memory
from mmadapt.memory.checkpointing import is_recomputed

BACKBONE = ['SwinBlock']
ENCODER = [*BACKBONE, 'DeformableDetrTransformerEncoderLayer']
DECODER = [*ENCODER, 'DeformableDetrTransformerDecoderLayer']
BOTTLENECK = ['Bottleneck']
RETINANET = 'retinanet/retinanet_r50_fpn_1x_coco.py'
# Norms in training mode, behind a frozen stem and a first stage.
NARROW = dict(
    backbone=dict(base_channels=16, init_cfg=None, norm_eval=False, frozen_stages=1),
    neck=dict(in_channels=[64, 128, 256, 512]),
    bbox_head=dict(feat_channels=32, stacked_convs=1),
)


def recomputed(model):
    return [type(m).__name__ for m in model.modules() if is_recomputed(m)]


def apply(model, names=(), **memory):
    return apply_memory(model, MemoryConfig.parse(memory), names)


@pytest.fixture(scope='module')
def dino(detector):
    """A DINO without random elements switched off, and a step of it without any of this."""
    model = detector.build()
    assert any(getattr(m, 'drop_prob', 0) > 0 for m in model.modules())
    return model, detector.step(copy.deepcopy(model))


@pytest.mark.parametrize(
    ('memory', 'share'),
    [
        (dict(checkpoint=DECODER), 0.2),
        (dict(checkpoint=ENCODER), 0.25),
        (dict(checkpoint=DECODER, every=2), 0.6),
        (dict(checkpoint=['backbone.stages', 'encoder.layers', 'decoder.layers']), 0.2),
    ],
)
def test_dino_keeps_a_fifth_and_its_losses_and_gradients(
    dino, detector, saved_bytes, memory, share, assert_identical
):
    stock, wanted = dino
    model = copy.deepcopy(stock)
    apply(model, **memory)
    assert_identical(detector.step(model), wanted)
    model.zero_grad()
    kept, _ = saved_bytes(model, lambda: detector.loss(model))
    all_of_it, _ = saved_bytes(stock, lambda: detector.loss(stock))
    assert kept < share * all_of_it
    assert list(model.state_dict()) == list(stock.state_dict())
    assert [n for n, _ in model.named_parameters()] == [n for n, _ in stock.named_parameters()]


def test_dropout_of_a_transformer_is_drawn_alike(detector, assert_identical):
    rates = {
        f'{part}.layer_cfg.{key}': 0.2
        for part in ('encoder', 'decoder')
        for key in ('self_attn_cfg.dropout', 'ffn_cfg.ffn_drop')
    }
    model = detector.build(**rates)
    assert sum(isinstance(m, nn.Dropout) and m.p == 0.2 for m in model.modules()) > 12
    clone = copy.deepcopy(model)
    apply(clone, checkpoint=DECODER)
    ours = detector.step(clone)
    assert_identical(ours, detector.step(model))


def test_with_cp_and_num_cp_of_a_config_are_taken_over(
    dino, detector, assert_identical, saved_bytes
):
    model = detector.build(**{'backbone.with_cp': True, 'encoder.num_cp': 2})
    lines = apply(model)
    assert lines == [
        'memory: recomputed in the backward pass: 2 DeformableDetrTransformerEncoderLayer, '
        '8 SwinBlock',
        'memory: with_cp is taken over, for 8 SwinBlock',
        'memory: num_cp is taken over, for 2 DeformableDetrTransformerEncoderLayer',
    ]
    assert len(recomputed(model)) == 10
    assert not any(getattr(m, 'with_cp', False) for m in model.modules())
    assert_identical(detector.step(model), dino[1])


def test_under_bfloat16_float32_islands_are_recomputed_as_such(
    dino, detector, saved_bytes, assert_identical
):
    islands = ['MultiScaleDeformableAttention', 'bbox_head', r'neck\..*\.gn']
    results, kept = [], []
    for names in ([], DECODER):
        model = copy.deepcopy(dino[0])
        apply(model, checkpoint=names, fp32_modules=islands)
        dtypes = set()
        model.encoder.layers[0].self_attn.value_proj.register_forward_hook(
            lambda m, args, out, found=dtypes: found.add(out.dtype)
        )
        model.encoder.layers[0].ffn.layers[1].register_forward_hook(
            lambda m, args, out, found=dtypes: found.add(out.dtype)
        )
        with torch.autocast('cpu', torch.bfloat16):
            size, (total, losses) = saved_bytes(model, lambda m=model: detector.loss(m))
        total.backward()
        assert dtypes == {torch.float32, torch.bfloat16}
        kept.append(size)
        results.append(
            (
                {'loss': total.detach()},
                {n: p.grad for n, p in model.named_parameters() if p.grad is not None},
            )
        )
    assert_identical(results[1], results[0])
    assert kept[1] < 0.25 * kept[0]


def test_statistics_of_norms_in_training_mode_are_those_without(detector, assert_identical):
    stock = detector.build(RETINANET, NARROW)
    before = {n: b.clone() for n, b in stock.named_buffers()}
    model = copy.deepcopy(stock)
    apply(model, checkpoint=['Bottleneck'])
    wanted = detector.step(stock)
    assert_identical(detector.step(model), wanted)
    moved = [n for n, b in wanted[2].items() if not torch.equal(b, before[n])]
    assert len(moved) > 100, 'norms are to be in training mode'
    assert all(m.momentum == 0.1 for m in model.modules() if isinstance(m, _BatchNorm))


def test_with_cp_behind_a_frozen_stem_keeps_less_and_reaches_every_block(
    detector, saved_bytes, assert_identical
):
    # Its own with_cp does nothing where the input of a block needs no gradient.
    changes = {'backbone.frozen_stages': 0}
    theirs, ours = (
        detector.build(RETINANET, NARROW, **changes, **{'backbone.with_cp': True}) for _ in range(2)
    )
    apply(ours)
    assert recomputed(ours) == ['Bottleneck'] * 16
    assert not ours.backbone.with_cp
    kept = [saved_bytes(m, lambda m=m: detector.loss(m))[0] for m in (theirs, ours)]
    assert kept[1] < 0.95 * kept[0]
    assert_identical(
        detector.step(ours)[:2], detector.step(detector.build(RETINANET, NARROW, **changes))[:2]
    )


def test_blocks_that_are_entered_by_rfp_forward_recompute_themselves(detector, saved_bytes):
    parts = ('backbone', 'neck.rfp_backbone')
    narrow = {
        f'{part}.{key}': value
        for part in parts
        for key, value in dict(base_channels=8, pretrained=None, init_cfg=None).items()
    }
    plain, theirs, ours = (
        detector.build(
            'detectors/cascade-rcnn_r50-rfp_1x_coco.py',
            {},
            **narrow,
            **{f'{part}.with_cp': with_cp for part in parts},
            **{'neck.in_channels': [32, 64, 128, 256]},
        )
        for with_cp in (False, True, True)
    )
    assert apply(ours) == [
        'memory: with_cp stays on in 32 Bottleneck: they are entered by rfp_forward too, and only '
        'they themselves recompute that'
    ]
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))

    def maps(model):
        return sum(level.square().sum() for level in model.extract_feat(images))

    kept = [saved_bytes(m, lambda m=m: maps(m))[0] for m in (plain, theirs, ours)]
    assert kept[2] == kept[1] < 0.8 * kept[0]


def test_adapters_in_and_behind_a_frozen_stem_train_as_without(
    detector, assert_identical, saved_bytes
):
    results, kept = [], []
    for memory in ({}, dict(checkpoint=['SwinBlock', 'DeformableDetrTransformerEncoderLayer'])):
        model = detector.build(**{'backbone.frozen_stages': 1})
        inject(model, dict(method=dict(type='LoRA', r=4, dropout=0.1), head='freeze'))
        torch.manual_seed(1)
        for layer in model.modules():
            if isinstance(layer, AdapterLayer):
                for name in layer.adapter_names:
                    nn.init.normal_(getattr(layer, name), std=0.02)
        apply(model.train(), **memory)
        kept.append(saved_bytes(model, lambda m=model: detector.loss(m))[0])
        results.append(detector.step(model))
    assert_identical(results[1], results[0])
    assert len([n for n in results[1][1] if 'backbone.stages.1.blocks.0' in n]) >= 8
    assert kept[1] < 0.5 * kept[0]


def test_the_copy_of_a_moving_average_has_its_own_blocks(detector):
    from mmengine.model import ExponentialMovingAverage

    model = detector.build(RETINANET, NARROW)
    apply(model, checkpoint=['Bottleneck'])
    averaged = ExponentialMovingAverage(model)
    for parameter in model.parameters():
        parameter.data.fill_(float('nan'))
    averaged.requires_grad_(True)
    total, _ = detector.loss(averaged.module)
    total.backward()
    assert total.isfinite()
    assert averaged.module.backbone.layer2[0].conv1.weight.grad.isfinite().all()


def test_a_second_time_changes_nothing_and_another_memory_is_refused(detector):
    model = detector.build(RETINANET, NARROW)
    assert apply(model, ['neck'], checkpoint=['Bottleneck'])
    assert recomputed(model) == ['Bottleneck'] * 16 + ['FPN']
    assert apply(model, ['neck'], checkpoint=['Bottleneck']) == []
    for names, memory in (
        (['neck'], dict(checkpoint=['FPN'])),
        ([], dict(checkpoint=BOTTLENECK)),
        (['neck', 'bbox_head'], dict(checkpoint=BOTTLENECK)),
    ):
        with pytest.raises(UserError, match='RetinaNet has been set up by another `memory`'):
            apply(model, names, **memory)


def test_what_is_within_a_recomputed_module_is_recomputed_with_it(detector):
    model = detector.build(RETINANET, NARROW, **{'backbone.with_cp': True})
    lines = apply(model, 'backbone', checkpoint=['FPN', 'bbox_head.cls_convs'], offload=True)
    assert recomputed(model) == ['ResNet', 'FPN', 'ConvModule']
    assert lines == [
        'memory: recomputed in the backward pass, their inputs kept on the CPU: 1 ConvModule, '
        '1 FPN, 1 ResNet',
        'memory: activation_checkpointing is taken over, for 1 ResNet',
        'memory: 16 Bottleneck of with_cp are within these and recomputed with them',
        'memory: with_cp is taken over, for 16 Bottleneck',
    ]


@pytest.mark.parametrize(
    ('names', 'memory', 'message'),
    [
        ((), dict(offload=True), 'memory.offload=True keeps .* none is recomputed: name them in'),
        ((), dict(checkpoint=['Botleneck']), "memory.checkpoint: 'Botleneck' .* 'Bottleneck'"),
        (
            'backbon',
            dict(),
            "activation_checkpointing: there is no module 'backbon'; nearest: 'backbone'",
        ),
        (['neck', 'bakcbone'], dict(), "there is no module 'bakcbone'"),
    ],
)
def test_what_means_nothing_is_named(detector, names, memory, message):
    model = detector.build(RETINANET, NARROW)
    with pytest.raises(UserError, match=message):
        apply(model, names, **memory)
    assert recomputed(model) == []


def test_a_head_whose_loss_is_called_instead_is_no_block_and_its_parts_are(detector):
    model = detector.build(
        'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', {}, **{'backbone.init_cfg': None}
    )
    for pattern in ('roi_head', 'StandardRoIHead'):
        with pytest.raises(UserError, match=f"memory.checkpoint: '{pattern}' means .*never called"):
            apply(model, checkpoint=[pattern])
    with pytest.raises(UserError, match="activation_checkpointing: 'roi_head' is never called; na"):
        apply(model, 'roi_head')
    assert recomputed(model) == []
    apply(model, checkpoint=['.*roi_head.*'])
    assert recomputed(model) == ['SingleRoIExtractor', 'Shared2FCBBoxHead']
