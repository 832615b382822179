"""Frozen norms folded into convolutions, against the same model with the layers apart."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmadapt import inject, merge, remove, unmerge
from mmadapt.adapters import AdapterLayer
from mmadapt.folding import find_sites, unfold_norms
from mmadapt.folding.scaled_conv import can_rescale
from mmadapt.folding.scales import SMALLEST_SCALE

METHODS = {
    'LoRA': dict(type='LoRA', r=4),
    'DoRA': dict(type='DoRA', r=4),
    'SSF': dict(type='SSF'),
    'dropout': dict(type='LoRA', r=4, dropout=0.3),
    'trained norm': dict(type='LoRA', r=4),
}
RTMDET = 'rtmdet/rtmdet_tiny_8xb32-300e_coco.py'
RESNET = 'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'


def adapt(model, kind, fold, **peft):
    torch.manual_seed(1)
    norm = 'affine' if kind == 'trained norm' else 'freeze'
    inject(model, dict(dict(method=METHODS[kind], norm=norm, fold_norm=fold), **peft))
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for layer in model.modules():
            for name in getattr(layer, 'adapter_names', ()):
                tensor = getattr(layer, name)
                tensor += 0.02 * torch.randn(tensor.shape, generator=generator)
    return model


def outputs_and_gradients(model, heads=False):
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(2, 3, 64, 64, generator=generator).to(next(model.parameters()))
    torch.manual_seed(4)
    maps = model.extract_feat(x)
    if heads:
        maps = [t for level in model.bbox_head(maps) for t in level]
    weights = [torch.randn(t.shape, generator=generator).to(t) for t in maps]
    sum((t * w).mean() for t, w in zip(maps, weights, strict=True)).backward()
    return maps, {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def close(found, wanted, tolerance):
    scale = wanted.abs().max()
    torch.testing.assert_close(found, wanted, rtol=0, atol=float(tolerance * scale) + 1e-12)


@pytest.mark.parametrize('name', [RTMDET, RESNET])
@pytest.mark.parametrize('kind', METHODS)
def test_outputs_and_gradients_are_those_of_the_layers_apart(kind, name, build_detector):
    stock = build_detector(name)
    apart = adapt(copy.deepcopy(stock), kind, False).double().train()
    folded = adapt(stock, kind, True).double().train()
    dropped = kind == 'dropout'
    (maps, gradients), (wanted_maps, wanted) = map(outputs_and_gradients, (folded, apart))
    for found, expected in zip(maps, wanted_maps, strict=True):
        close(found, expected, 1e-9)
    assert gradients.keys() == wanted.keys()
    adapters = [n for n in wanted if 'lora' in n or 'ssf' in n or 'magnitude' in n]
    assert len(adapters) > 40
    assert all(wanted[n].abs().max() > 0 for n in adapters if not dropped)
    for key, gradient in gradients.items():
        close(gradient, wanted[key], 1e-6)  # a few are small sums of large terms


def test_a_convolution_that_several_norms_follow_is_folded_with_the_right_one(build_detector):
    stock = build_detector()
    convs = [site.conv for site in find_sites(stock)]
    assert any(convs.count(conv) == 3 for conv in convs), 'RTMDet shares its head convolutions'
    apart = adapt(copy.deepcopy(stock), 'LoRA', False, head='adapt').double().train()
    folded = adapt(stock, 'LoRA', True, head='adapt').double().train()
    assert _count(folded) == len(convs)
    (maps, gradients), (wanted_maps, wanted) = (
        outputs_and_gradients(model, heads=True) for model in (folded, apart)
    )
    for found, expected in zip(maps, wanted_maps, strict=True):
        close(found, expected, 1e-9)
    for key, gradient in gradients.items():
        close(gradient, wanted[key], 1e-6)


@pytest.mark.parametrize('name', [RTMDET, RESNET])
@pytest.mark.parametrize('kind', ['LoRA', 'SSF'])
def test_evaluation_is_bit_for_bit_that_of_the_base_until_something_is_trained(
    kind, name, build_detector
):
    stock = build_detector(name).eval()
    adapted = copy.deepcopy(stock)
    inject(adapted, dict(method=METHODS[kind]))
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for found, wanted in zip(adapted.extract_feat(x), stock.extract_feat(x), strict=True):
            assert torch.equal(found, wanted)
        for found, wanted in zip(
            adapted.train().extract_feat(x), stock.extract_feat(x), strict=True
        ):
            assert not torch.equal(found, wanted), 'nothing was folded'
            close(found, wanted, 2e-4)  # single precision through a hundred layers


def _saved_bytes(model, x):
    own = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    saved = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        maps = model.extract_feat(x)
    return sum(saved.values()), maps


@pytest.mark.parametrize(('kind', 'share'), [('LoRA', 0.8), ('SSF', 0.55)])
def test_folding_keeps_fewer_activations_than_full_fine_tuning(kind, share, build_detector):
    stock = build_detector().train()
    x = torch.randn(4, 3, 256, 256)
    full, _ = _saved_bytes(copy.deepcopy(stock), x)
    folded, _ = _saved_bytes(adapt(stock, kind, True).train(), x)
    assert folded < share * full


def test_a_scale_near_zero_still_gets_its_gradient(build_detector):
    stock = build_detector()
    gradients = []
    for fold in (False, True):
        model = adapt(copy.deepcopy(stock), 'SSF', fold).double().train()
        site = find_sites(model)[3]
        with torch.no_grad():
            site.norm.ssf_scale[2] = 0.0
            site.norm.ssf_scale[3] = SMALLEST_SCALE / 2
        assert not fold or not can_rescale(site.conv, site.norm)
        outputs_and_gradients(model)
        gradients.append(site.norm.ssf_scale.grad)
    assert gradients[0][2] != 0
    close(gradients[1], gradients[0], 1e-6)


@pytest.mark.parametrize('kind', ['LoRA', 'SSF'])
@pytest.mark.parametrize('copied', [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_is_folded_with_its_own_norms(kind, copied, build_detector):
    model = adapt(build_detector(RESNET), kind, True).train()
    x = torch.randn(1, 3, 64, 64)
    wanted = model.extract_feat(x)
    clone = copied(model)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.running_mean += 1
    for found, expected in zip(clone.extract_feat(x), wanted, strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize('name', [RTMDET, RESNET])
@pytest.mark.parametrize('kind', ['LoRA', 'SSF'])
@pytest.mark.parametrize('undo', [remove, merge])
def test_nothing_of_it_is_left_after_merging_or_removing(undo, kind, name, build_detector):
    stock = build_detector(name)
    model = adapt(copy.deepcopy(stock), kind, True)
    folded = _count(model)
    # A ResNet's pairs are not folded for SSF, see below.
    assert folded > 40 or (kind, name) == ('SSF', RESNET)
    undo(model)
    for (key, found), wanted in zip(model.named_modules(), stock.modules(), strict=True):
        assert type(found) is type(wanted), key
        assert getattr(found, 'inplace', None) == getattr(wanted, 'inplace', None), key
        assert set(found.__dict__) - {'_mmadapt'} == set(wanted.__dict__), key
    if undo is merge:
        unmerge(model)
        assert _count(model) == folded


def test_no_frozen_convolution_gets_a_weight_gradient_by_folding(build_detector):
    # Folding a trained norm into a frozen weight would need one, the dearest third of a backward
    # pass; where the norm has no ConvModule around it that cannot be avoided by keeping the output.
    model = adapt(build_detector(RESNET), 'SSF', True).backbone
    for parameter in model.parameters():
        if parameter.dim() == 4:
            assert not parameter.requires_grad
    graph, seen = [sum(y.sum() for y in model(torch.randn(1, 3, 64, 64))).grad_fn], []
    while graph:
        node = graph.pop()
        if node is not None and node not in seen:
            seen.append(node)
            graph += [child for child, _ in node.next_functions]
    convolutions = [node for node in seen if type(node).__name__ == 'ConvolutionBackward0']
    assert len(convolutions) > 35
    assert all(node.next_functions[1][0] is None for node in convolutions)


def test_folding_can_be_switched_off(build_detector):
    model = adapt(build_detector(), 'LoRA', False)
    assert _count(model) == 0
    with_it = adapt(build_detector(), 'LoRA', True)
    unfold_norms(with_it)
    assert [type(m) for m in with_it.modules()] == [type(m) for m in model.modules()]


def test_norms_that_move_are_not_folded(build_detector):
    model = build_detector()
    inject(model, dict(method=METHODS['LoRA'], norm='train'))
    assert _count(model) == 0


@pytest.mark.parametrize('kind', METHODS)
def test_the_bias_of_a_convolution_is_folded_too(kind):
    torch.manual_seed(0)
    stock = nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.ConvTranspose2d(6, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3),
        nn.BatchNorm2d(4),
    )
    for norm in (m for m in stock if isinstance(m, _BatchNorm)):
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            tensor.data.uniform_(0.5, 2)
    x, found = torch.randn(2, 3, 9, 9, dtype=torch.float64), []
    for fold in (True, False):
        # The last convolution has no adapter; its bias is folded by another class.
        model = adapt(copy.deepcopy(stock), kind, fold, targets=['0', '3']).double().train()
        assert _count(model) == (0 if not fold else 1 if kind == 'SSF' else 3)
        torch.manual_seed(5)
        found.append(model(x))
    close(found[0], found[1], 1e-9)


def test_a_norm_before_its_convolution_or_behind_two_of_them_is_no_site():
    class PreActivation(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.conv1 = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3)

    assert find_sites(PreActivation()) == []
    conv, norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
    assert len(find_sites(nn.Sequential(norm, conv, norm))) == 1
    twice = nn.ModuleList([nn.Sequential(conv, norm), nn.Sequential(nn.Conv2d(4, 4, 1), norm)])
    inject(twice, dict(method=METHODS['LoRA'], head='adapt'))
    assert _count(twice) == 0


def _count(model) -> int:
    """How many places are folded."""
    named = [type(m).__name__ for m in model.modules()]
    return named.count('FoldingConvModule') + sum(
        getattr(m, 'folded_into', None) is not None for m in model.modules()
    )


@pytest.mark.parametrize('kind', ['LoRA', 'SSF'])
def test_autocast_is_no_less_exact_and_keeps_gradients_in_float32(kind, build_detector):
    stock = build_detector()
    exact = outputs_and_gradients(adapt(copy.deepcopy(stock), kind, False).train())[1]
    angles = []
    for fold in (False, True):
        model = adapt(copy.deepcopy(stock), kind, fold).train()
        with torch.autocast('cpu', torch.bfloat16):
            maps, gradients = outputs_and_gradients(model)
        assert maps[0].dtype == torch.bfloat16
        for layer in (m for m in model.modules() if isinstance(m, AdapterLayer)):
            assert all(getattr(layer, n).grad.dtype == torch.float32 for n in layer.adapter_names)
        angles.append(
            torch.stack(
                [
                    torch.cosine_similarity(gradients[k].flatten(), exact[k].flatten(), 0)
                    for k in gradients
                    if gradients[k].numel() > 16
                ]
            ).median()
        )
    apart, folded = angles
    assert folded > apart - 0.05
