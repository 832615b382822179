"""The backward pass by the factors against autograd's through the merged weight."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmadapt.adapters import DoRA, LoRA, adapt_layer
from mmadapt.adapters.layers import conv as conv_layers
from mmadapt.adapters.layers.conv import AdaptedConv1d, AdaptedConv2d, AdaptedConv3d
from mmadapt.adapters.layers.low_rank_conv import SMALLEST_WEIGHT, _LowRankConv, low_rank_conv

GEOMETRIES = {
    '1d': ((2, 6, 9), (5, 6, 3), ((2,), (1,), (1,), 1)),
    'square': ((2, 6, 8, 7), (5, 6, 3, 3), ((1, 1), (1, 1), (1, 1), 1)),
    'strided': ((2, 6, 9, 8), (5, 6, 3, 1), ((2, 3), (1, 0), (1, 1), 1)),
    'dilated': ((1, 6, 7, 6), (5, 6, 3, 3), ((1, 1), (2, 2), (2, 2), 1)),
    'pointwise': ((2, 6, 4, 5), (5, 6, 1, 1), ((1, 1), (0, 0), (1, 1), 1)),
    'grouped': ((2, 8, 5, 4), (6, 4, 3, 3), ((1, 2), (1, 1), (1, 1), 2)),
    '3d': ((2, 3, 4, 5, 4), (4, 3, 3, 3, 3), ((1, 2, 1), (1, 1, 0), (1, 1, 1), 1)),
}


def tensors_of(name, dtype=torch.float64):
    torch.manual_seed(0)
    size, weight, geometry = GEOMETRIES[name]
    x, weight = torch.randn(size, dtype=dtype), torch.randn(weight, dtype=dtype)
    down = torch.randn(3, *weight.shape[1:], dtype=dtype)
    up, bias = torch.randn(len(weight), 3, dtype=dtype), torch.randn(len(weight), dtype=dtype)
    return x, weight, bias, down, up, geometry


@pytest.mark.parametrize('frozen', [(), ('down',), ('x', 'up')])
@pytest.mark.parametrize('name', GEOMETRIES)
def test_gradients_are_those_of_finite_differences(name, frozen):
    x, weight, bias, down, up, geometry = tensors_of(name)
    factor = torch.rand(len(weight), dtype=weight.dtype)
    given = dict(x=x, bias=bias, down=down, up=up)
    trained = {key: t.requires_grad_() for key, t in given.items() if key not in frozen}

    def function(*tensors):
        given.update(zip(trained, tensors, strict=True))
        return low_rank_conv(weight=weight, factor=factor, geometry=geometry, **given)

    assert torch.autograd.gradcheck(function, [*trained.values()])


@pytest.mark.parametrize('name', GEOMETRIES)
def test_a_frozen_weight_alone_is_an_ordinary_convolution_and_keeps_nothing_else(name):
    x, weight, bias, _, _, geometry = tensors_of(name)
    inputs = [x.requires_grad_(), bias.requires_grad_()]
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        y = low_rank_conv(x, weight, None, bias, None, None, geometry)
    assert [t.data_ptr() for t in kept] == [weight.data_ptr()]
    stride, padding, dilation, groups = geometry
    convolve = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}[x.dim()]
    wanted = convolve(x, weight, bias, stride, padding, dilation, groups)
    assert torch.equal(y, wanted)
    grad = torch.randn_like(y)
    torch.testing.assert_close(
        torch.autograd.grad(y, inputs, grad), torch.autograd.grad(wanted, inputs, grad)
    )


@pytest.fixture
def any_size(monkeypatch):
    monkeypatch.setattr(conv_layers, 'SMALLEST_WEIGHT', 0)


def uses_it(output) -> bool:
    return type(output.grad_fn).__name__ == f'{_LowRankConv.__name__}Backward'


def adapted(stock, cls=AdaptedConv2d, method=LoRA, **options):
    layer = copy.deepcopy(stock)
    layer.requires_grad_(False)
    torch.manual_seed(1)
    adapt_layer(layer, cls, method(r=2, **options))
    with torch.no_grad():
        for name in layer.adapter_names:
            getattr(layer, name).add_(0.1 * torch.randn_like(getattr(layer, name)))
    return layer.train()


@pytest.mark.usefixtures('any_size')
@pytest.mark.parametrize('init', ['kaiming', 'pissa'])
@pytest.mark.parametrize(
    ('stock', 'cls', 'size'),
    [
        (nn.Conv1d(6, 4, 3, padding=1), AdaptedConv1d, (2, 6, 9)),
        (nn.Conv2d(6, 4, 3, stride=2, padding=1, bias=False), AdaptedConv2d, (2, 6, 9, 8)),
        (nn.Conv3d(6, 4, (1, 3, 3), dilation=(1, 2, 1)), AdaptedConv3d, (2, 6, 4, 9, 8)),
    ],
    ids=['1d', '2d', '3d'],
)
def test_a_layer_computes_and_learns_as_the_merged_way(stock, cls, size, init):
    x = torch.randn(size)
    results = []
    for compute in ('auto', 'merged'):
        layer = adapted(stock, cls, compute=compute, init=init)
        y = layer(leaf := x.clone().requires_grad_())
        assert uses_it(y) == (compute == 'auto')
        y.square().sum().backward()
        results.append([y, leaf.grad, layer.lora_A.grad, layer.lora_B.grad])
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures('any_size')
def test_a_norm_behind_is_folded_in_the_same():
    x, stock = torch.randn(2, 6, 9, 8), nn.Conv2d(6, 4, 3, padding=1)
    factor, shift = torch.rand(4) + 0.5, torch.randn(4)
    results = []
    for compute in ('auto', 'merged'):
        layer = adapted(stock, compute=compute)
        y = layer.compute(x, affine=(factor, shift))
        assert uses_it(y) == (compute == 'auto')
        y.square().sum().backward()
        results.append([y, layer.lora_A.grad, layer.lora_B.grad])
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-4)


def test_the_input_and_the_factors_are_all_that_is_kept():
    x, weight, bias, down, up, geometry = tensors_of('square')
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        low_rank_conv(x, weight, None, bias, down.requires_grad_(), up, geometry)
    assert {t.data_ptr() for t in kept} == {t.data_ptr() for t in (x, weight, down, up)}


@pytest.mark.usefixtures('any_size')
def test_a_trained_norm_behind_gets_its_gradient():
    layer = adapted(nn.Conv2d(6, 4, 3))
    factor = torch.ones(4, requires_grad=True)
    y = layer.compute(torch.randn(2, 6, 9, 8), affine=(factor, torch.zeros(4)))
    y.square().sum().backward()
    assert factor.grad.abs().min() > 0


@pytest.mark.usefixtures('any_size')
def test_under_autocast_it_computes_in_half_and_learns_in_full_precision():
    stock, x = nn.Conv2d(16, 16, 3, padding=1), torch.randn(2, 16, 9, 8)
    gradients = []
    for autocast in (True, False):
        layer = adapted(stock)
        with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
            y = layer(leaf := x.clone().requires_grad_())
        assert uses_it(y)
        assert y.dtype == (torch.bfloat16 if autocast else torch.float32)
        y.float().sum().backward()
        assert leaf.grad.dtype == layer.lora_A.grad.dtype == torch.float32
        gradients.append(torch.cat([t.flatten() for t in (layer.lora_A.grad, layer.lora_B.grad)]))
    half, full = gradients
    assert torch.nn.functional.cosine_similarity(half, full, dim=0) > 0.999


class OwnSum(LoRA):
    """A method that says itself what a weight becomes."""

    def adapt(self, weight, bias, tensors):
        weight, bias = super().adapt(weight, bias, tensors)
        return 2 * weight, bias


@pytest.mark.usefixtures('any_size')
@pytest.mark.parametrize(
    'layer',
    [
        adapted(nn.Conv2d(6, 4, 3), method=DoRA),
        adapted(nn.Conv2d(6, 4, 3), method=OwnSum),
        adapted(nn.Conv2d(6, 4, 3), dropout=0.1),
        adapted(nn.Conv2d(6, 4, 3, groups=2)),
        adapted(nn.Conv2d(6, 4, 3, padding=1, padding_mode='reflect')),
        adapted(nn.Conv2d(6, 4, 3, padding='same')),
        adapted(nn.Conv2d(6, 4, 3)).eval(),
        adapted(nn.Conv2d(6, 4, 3)).requires_grad_(),
    ],
    ids=['dora', 'own adapt', 'dropout', 'groups', 'reflect', 'same', 'eval', 'trained weight'],
)
def test_everything_else_goes_the_other_ways(layer):
    assert not uses_it(layer(torch.randn(2, 6, 9, 8)))


def test_small_weights_go_the_merged_way():
    side = int((SMALLEST_WEIGHT / 9) ** 0.5)
    x = torch.randn(1, side, 3, 3)
    assert not uses_it(adapted(nn.Conv2d(side, side - 1, 3, padding=1))(x))
    assert uses_it(adapted(nn.Conv2d(side, side + 1, 3, padding=1))(x))
