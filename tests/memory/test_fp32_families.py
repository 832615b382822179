"""Detectors train in bfloat16 with the islands that `fp32_modules='auto'` means.

The recipe that DINO does not train with, float16 in all parameters, is here too, with what breaks.
"""

import copy

import pytest
import torch
from mmcv.ops import RoIAlign, multi_scale_deform_attn
from mmdet.models.layers import DeformableDetrTransformerDecoder
from mmdet.models.layers.transformer.utils import inverse_sigmoid
from mmdet.models.task_modules.assigners import FocalLossCost
from mmengine.structures import InstanceData
from model_zoo import DETECTORS, inputs

from mmadapt.memory.families import find_islands
from mmadapt.memory.islands import keep_float32
from mmadapt.memory.matching import find_modules
from mmadapt.optim import AutocastOptimWrapper

ATTENTION, GROUP_NORM = 'MultiScaleDeformableAttention', r'neck\..*\.gn'
LAST_LAYERS = r'.*\.(rpn_cls|rpn_reg|fc_cls|fc_reg|conv_logits)'


@pytest.fixture
def build(detector):
    """Return a function that builds a detector with the islands that it needs, but some."""

    def build(family, *without):
        if family == 'DINO, Swin':
            model = detector.build(
                **{'encoder.num_layers': 2, 'decoder.num_layers': 2, 'backbone.drop_path_rate': 0.0}
            )
        else:
            model = DETECTORS[family].build()
        left_out = find_modules(model, list(without), 'without').values()
        keep_float32(
            model,
            [name for name, module in find_islands(model).items() if module not in left_out]
            if without
            else 'auto',
        )
        return model.train()

    return build


def losses_of(model, family, samples=None, dtype=torch.bfloat16):
    images, found = inputs(getattr(DETECTORS.get(family), 'masks', False))
    torch.manual_seed(5)
    with torch.autocast('cpu', dtype):
        losses = model.loss(images, samples or found)
    return {key: value if isinstance(value, list) else [value] for key, value in losses.items()}


def box_filling_samples():
    """Return samples of unpadded images, a box of each as large as 0.998 of its image."""
    _, samples = inputs()
    for sample in samples:
        sample.set_metainfo(dict(img_shape=(96, 96), ori_shape=(96, 96)))
        sample.gt_instances.bboxes[0] = torch.tensor([0.1, 0.1, 95.9, 95.9])
    return samples


@pytest.mark.parametrize('family', ['DINO, Swin', 'Deformable DETR', 'RTMDet', 'Mask R-CNN'])
def test_a_detector_trains_in_bfloat16_and_computes_boxes_and_losses_in_float32(
    family, build, monkeypatch
):
    model, received = build(family), set()
    watch(model, received, monkeypatch)
    rate = 3e-3 if family == 'RTMDet' else 2e-4
    wrapper = AutocastOptimWrapper(
        'bfloat16',
        clip_grad=dict(max_norm=10.0),
        optimizer=(torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)),
    )
    images, samples = inputs(getattr(DETECTORS.get(family), 'masks', False))
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        found = model.eval().predict(images, samples, rescale=False)[0].pred_instances
    assert len(found) > 0
    assert found.bboxes.dtype == found.scores.dtype == torch.float32
    assert found.bboxes.isfinite().all()
    model.train()
    totals, before = [], copy.deepcopy(model.state_dict())
    for _ in range(20):
        torch.manual_seed(5)
        with wrapper.optim_context(model):
            losses = model.loss(images, samples)
        total, _ = model.parse_losses(losses)
        wrapper.update_params(total)
        totals.append(total.item())
        assert {
            t.dtype
            for value in losses.values()
            for t in (value if isinstance(value, list) else [value])
        } == {torch.float32}
        norm = wrapper.message_hub.get_scalar('train/grad_norm').current()
        assert 0 < norm < float('inf')
        if len(totals) >= 4 and totals[-1] < 0.7 * totals[0]:
            break
    assert wrapper.skipped_steps == 0
    assert totals[-1] < 0.7 * totals[0]
    assert received == {
        (name, torch.float32)
        for name in (
            ['regions']
            if family == 'Mask R-CNN'
            else ['predictions']
            if family == 'RTMDet'
            else ['attention', 'reference_points', 'valid_ratios', 'predictions']
        )
    }
    state = model.state_dict()
    assert all(state[key].dtype == tensor.dtype for key, tensor in before.items())


def watch(model, received, monkeypatch):
    """Add to ``received`` the dtypes of what boxes are computed from."""

    def note(name, *tensors):
        received.update((name, t.dtype) for t in tensors if t.is_floating_point())

    attend = multi_scale_deform_attn.multi_scale_deformable_attn_pytorch
    monkeypatch.setattr(
        multi_scale_deform_attn,
        'multi_scale_deformable_attn_pytorch',
        lambda *args: (note('attention', *args), attend(*args))[1],
    )
    for module in model.modules():
        if isinstance(module, RoIAlign):
            module.register_forward_pre_hook(lambda m, args: note('regions', *args))
        if isinstance(module, DeformableDetrTransformerDecoder):
            module.register_forward_hook(
                lambda m, args, kwargs, found: (
                    [note(key, kwargs[key]) for key in ('reference_points', 'valid_ratios')]
                    and None
                ),
                with_kwargs=True,
            )
    if hasattr(model, 'bbox_head'):
        model.bbox_head.register_forward_hook(
            lambda m, args, found: note('predictions', *torch.utils._pytree.tree_leaves(found))
        )


@pytest.mark.parametrize(
    ('family', 'without', 'in_bfloat16'),
    [
        ('DINO', ATTENTION, {'attention'}),
        ('DINO', GROUP_NORM, {'valid_ratios'}),
        ('DINO', 'bbox_head', {'losses', 'predictions'}),
        ('Deformable DETR', 'bbox_head', {'losses', 'predictions'}),
        ('Deformable DETR', 'reference_points_fc', {'reference_points'}),
        ('RTMDet', 'bbox_head.rtm_cls', {'predictions'}),
        ('RTMDet', 'bbox_head.rtm_reg', {'predictions'}),
    ],
)
def test_without_one_of_its_islands_a_detector_computes_it_in_bfloat16(
    family, without, in_bfloat16, build, monkeypatch
):
    # Without padding the ratios are ones of the type of the feature maps.
    for removed in ([], [without]):
        model, received = build(family, *removed), set()
        watch(model, received, monkeypatch)
        losses = losses_of(model, family, box_filling_samples())
        received |= {('losses', t.dtype) for value in losses.values() for t in value}
        low = {name for name, dtype in received if dtype == torch.bfloat16}
        assert low == (in_bfloat16 if removed else set())


@pytest.mark.parametrize(
    ('family', 'without'),
    [('Mask R-CNN', [LAST_LAYERS]), ('RTMDet', ['bbox_head.rtm_cls', 'bbox_head.rtm_reg'])],
)
def test_without_its_last_layers_nms_refuses_the_boxes_of_a_detector(family, without, build):
    model = build(family, *without).eval()
    with (
        torch.no_grad(),
        torch.autocast('cpu', torch.bfloat16),
        pytest.raises(RuntimeError, match='expected scalar type Float but found BFloat16'),
    ):
        model.predict(*inputs())


def test_without_its_extractor_roi_align_gets_rounded_regions_and_has_no_kernel(build, monkeypatch):
    model, received = build('Mask R-CNN', 'BaseRoIExtractor'), set()
    watch(model, received, monkeypatch)
    with pytest.raises(NotImplementedError, match="ROIAlign_forward.*'BFloat16'"):
        losses_of(model, 'Mask R-CNN')
    assert received == {('regions', torch.bfloat16)}


def test_deformable_attention_is_that_of_float32_bit_by_bit(build):
    model = build('DINO').eval()
    layer = model.encoder.layers[0].self_attn
    plain = type(layer)(embed_dims=256, num_levels=4, dropout=0.0, batch_first=True).eval()
    plain.load_state_dict(layer.state_dict())
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(1, 20, 256, generator=generator).bfloat16()
    shapes = torch.tensor([[3, 4], [2, 2], [1, 2], [1, 2]])
    arguments = dict(
        reference_points=torch.rand(1, 20, 4, 2, generator=generator),
        spatial_shapes=shapes,
        level_start_index=torch.tensor([0, 12, 16, 18]),
    )
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        ours = layer(query, **arguments)
    with torch.no_grad():
        assert torch.equal(ours, plain(query.float(), **arguments))


@pytest.mark.parametrize('family', ['DINO', 'Deformable DETR, refined in two stages'])
def test_boxes_as_large_as_the_image_have_finite_gradients(family, build):
    model, references = build(family), []
    for branch in model.bbox_head.reg_branches:
        branch[-1].bias.data[2:] = 6.5  # sigmoid: 0.9985
        branch[-1].weight.data *= 0.01
    model.decoder.register_forward_hook(lambda m, args, found: references.extend(found[1]))
    losses = losses_of(model, family, box_filling_samples())
    model.parse_losses(losses)[0].backward()
    sides = torch.stack([r[:, -12:, 2:] for r in references])
    assert ((sides > 0.996) & (sides < 1)).float().mean() > 0.3
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert len(gradients) > 100
    assert all(g.isfinite().all() for g in gradients)


# The recipe of 2023: DeepSpeed casts all parameters to float16 and has no exceptions.


@pytest.mark.parametrize('scale', [65536.0, 1.0, 2.0**-10])
@pytest.mark.parametrize(('eps', 'highest'), [(1e-3, 0.9985), (1e-5, 0.9995)])
def test_float16_has_no_gradient_of_large_boxes_at_any_loss_scale(scale, eps, highest):
    # d log(x / (1 - x)) goes through x / (1 - x)^2, which exceeds 65504 once 1 - x < 1/256.
    def gradients(dtype):
        x = torch.linspace(0.9, 1, 2000).to(dtype).requires_grad_()
        (inverse_sigmoid(x, eps).float().mean() * scale).backward()
        return x.detach().float(), x.grad.isfinite()

    x, finite = gradients(torch.float16)
    assert not finite[(x > 0.9966) & (x < highest)].any()
    assert finite[x < 0.996].all()
    assert gradients(torch.float32)[1].all()


def test_a_dino_of_float16_makes_its_scaler_skip_for_ever_and_islands_do_not(build):
    """The head of a DINO, once of float16 parameters and once an island under autocast."""
    states = torch.randn(2, 1, 3, 256, generator=torch.Generator().manual_seed(0))
    references = [torch.full((1, 3, 4), 0.998).requires_grad_() for _ in range(2)]
    head = build('DINO').bbox_head
    with torch.autocast('cpu', torch.float16):
        boxes = head(states.half(), references)[1]
    boxes.sum().backward()
    assert boxes.dtype == torch.float32
    assert all(r.grad.isfinite().all() and r.grad.abs().max() > 0 for r in references)

    plain = DETECTORS['DINO'].build().bbox_head.half()
    for halvings in range(0, 40, 4):
        low = [r.detach().half().requires_grad_() for r in references]
        (plain(states.half(), low)[1].float().sum() * 65536 / 2**halvings).backward()
        assert not any(r.grad.isfinite().all() for r in low)


def test_float16_has_no_eps_of_the_matching_cost():
    cost = FocalLossCost()
    assert torch.tensor(cost.eps).half() == 0
    targets = InstanceData(labels=torch.tensor([0]))
    sure = torch.tensor([[20.0], [-20.0]])
    found = [
        cost(InstanceData(scores=sure.to(dtype)), targets)
        for dtype in (torch.float32, torch.float16)
    ]
    assert found[0].isfinite().all()
    assert not found[1].isfinite().all()


def test_the_area_of_a_box_of_257_pixels_is_infinite_in_float16():
    side = torch.tensor(257.0)
    assert (side.half() * side.half()).isinf()
    assert (side.bfloat16() * side.bfloat16()).isfinite()


def test_a_dino_of_float16_does_not_even_run():
    model = DETECTORS['DINO'].build().half().train()
    images, samples = inputs()
    with pytest.raises(RuntimeError, match='must have the same dtype'):
        model.loss(images.half(), samples)
