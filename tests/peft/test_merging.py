"""Merging, taking out and removing adapters of whole stock detectors."""

import copy

import pytest
import torch
from torch import nn

from mmadapt import UserError, inject, merge, remove, unmerge
from mmadapt.adapters import AdapterLayer
from mmadapt.peft import merged_state_dict

FASTER_RCNN = 'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
SWIN = 'swin/retinanet_swin-t-p4-w7_fpn_1x_coco.py'
PEFT = {
    'rtmdet/rtmdet_tiny_8xb32-300e_coco.py': dict(head='adapt', targets='all'),
    FASTER_RCNN: dict(head='adapt'),
    SWIN: dict(),
}


def tensors(output):
    if isinstance(output, torch.Tensor):
        return [output]
    return [tensor for item in output for tensor in tensors(item)]


def features(model, x):
    """What a detector computes before boxes are selected, which rounding could change."""
    with torch.no_grad():
        if not hasattr(model, 'roi_head'):
            return tensors(model(x, mode='tensor'))
        maps = model.extract_feat(x)
        rois = torch.tensor([[0.0, 4, 4, 50, 60], [0, 10, 2, 30, 30]], device=x.device)
        roi_maps = model.roi_head.bbox_roi_extractor(maps[:4], rois)
        return tensors([model.rpn_head(maps), model.roi_head.bbox_head(roi_maps)])


def adapted_detector(build_detector, name):
    model = build_detector(name).eval()
    inject(model, dict(method=dict(type='LoRA', r=4, dropout=0.1), **PEFT[name]))
    torch.manual_seed(1)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, AdapterLayer):
                module.lora_B.normal_(std=0.02)
    return model


def assert_close(ours, wanted):
    assert len(ours) == len(wanted) > 3
    for a, b in zip(ours, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * max(1.0, b.abs().max().item()))


@pytest.mark.parametrize('name', PEFT)
def test_a_detector_merges_loads_into_stock_and_comes_back_bit_for_bit(build_detector, name):
    stock, model = build_detector(name).eval(), adapted_detector(build_detector, name)
    x = torch.rand(1, 3, 64, 64)
    base, wanted = features(stock, x), features(model, x)
    assert max((a - b).abs().max() for a, b in zip(base, wanted, strict=True)) > 1e-3
    before = {key: value.clone() for key, value in model.state_dict().items()}

    state = merged_state_dict(model)
    assert list(state) == list(stock.state_dict())
    stock.load_state_dict(state, strict=True)
    assert_close(features(stock, x), wanted)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())

    merge(model)
    assert not any(isinstance(m, AdapterLayer) for m in model.modules())
    assert list(model.state_dict()) == list(stock.state_dict())
    assert_close(features(model, x), wanted)

    unmerge(model)
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    for ours, same in zip(features(model, x), wanted, strict=True):
        assert torch.equal(ours, same)


@pytest.mark.parametrize('merged', [False, True])
def test_removing_also_from_a_merged_detector_gives_the_base_back(build_detector, merged):
    name = SWIN
    stock, model = build_detector(name).eval(), adapted_detector(build_detector, name)
    x = torch.rand(1, 3, 64, 64)
    if merged:
        merge(model)
    remove(model)
    assert [type(m) for m in model.modules()] == [type(m) for m in stock.modules()]
    for ours, same in zip(features(model, x), features(stock, x), strict=True):
        assert torch.equal(ours, same)


def test_a_merged_model_is_copied_with_what_unmerging_needs(build_detector):
    model = adapted_detector(build_detector, SWIN)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    merge(model)
    clone = copy.deepcopy(model)
    unmerge(clone)
    assert all(torch.equal(before[key], value) for key, value in clone.state_dict().items())
    assert not any(isinstance(m, AdapterLayer) for m in model.modules())


def test_an_optimizer_still_holds_the_adapter_after_merging_and_unmerging():
    model = nn.Sequential(nn.Linear(3, 3))
    inject(model, dict(method=dict(type='LoRA', r=2)))
    a, weight = model[0].lora_A, model[0].weight
    merge(model)
    assert model[0].weight is weight
    unmerge(model)
    assert model[0].lora_A is a
    assert model[0].weight is weight
    assert not weight.requires_grad


def test_merging_twice_unmerging_twice_and_merging_a_stock_model_are_refused():
    model = nn.Sequential(nn.Linear(3, 3))
    for call in (merge, unmerge, remove):
        with pytest.raises(UserError, match='this Sequential is not adapted; call mmadapt.inject'):
            call(model)
    inject(model, dict(method=dict(type='LoRA', r=2)))
    with pytest.raises(UserError, match='no merged adapter'):
        unmerge(model)
    merge(model)
    with pytest.raises(UserError, match='merged already'):
        merge(model)
