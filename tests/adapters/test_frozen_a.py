"""LoRA-FA: A stays as it was drawn, and r channels are kept in the place of a layer's input."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmadapt import UserError
from mmadapt.adapters import DoRA, LoRA, adapt_layer, adapted_class
from mmadapt.adapters.layers.low_rank_conv import SMALLEST_WEIGHT, _LowRankConv
from mmadapt.meters.step import SavedForBackward

R = 3
LAYERS = {
    'linear': (lambda: nn.Linear(16, 12), (2, 5, 16)),
    'linear, no bias': (lambda: nn.Linear(16, 12, bias=False), (7, 16)),
    'conv': (lambda: nn.Conv2d(16, 12, 3, padding=1), (2, 16, 7, 6)),
    'strided': (lambda: nn.Conv2d(16, 12, 3, stride=(2, 1), bias=False), (2, 16, 7, 6)),
    'pointwise': (lambda: nn.Conv2d(16, 8, 1), (2, 16, 7, 6)),
    'dilated': (lambda: nn.Conv2d(16, 12, 3, padding=2, dilation=2), (2, 16, 7, 6)),
    'grouped': (lambda: nn.Conv2d(16, 8, 3, groups=4), (2, 16, 7, 6)),
    '1d': (lambda: nn.Conv1d(16, 12, 5), (2, 16, 9)),
    '3d': (lambda: nn.Conv3d(16, 4, 2), (2, 16, 4, 3, 3)),
}
FUNCTIONS = {2: F.linear, 3: F.conv1d, 4: F.conv2d, 5: F.conv3d}


def adapted(stock, method=LoRA, **options):
    """Return an adapted copy of a layer, whose B has been trained."""
    layer = copy.deepcopy(stock).requires_grad_(False)
    torch.manual_seed(1)
    adapt_layer(layer, adapted_class(layer), method(**{'r': R, 'alpha': 5, **options}))
    with torch.no_grad():
        layer.lora_B.normal_()
    return layer.train()


def build(name, dtype=torch.float64, **options):
    torch.manual_seed(0)
    make, size = LAYERS[name]
    layer = adapted(make(), freeze_A=True, **options).to(dtype)
    return layer, torch.randn(size, dtype=dtype, requires_grad=True)


def geometry(layer):
    if isinstance(layer, nn.Linear):
        return ()
    return layer.stride, layer.padding, layer.dilation, layer.groups


def formula(layer, x, up, factor=None):
    """Return the output, from a weight that is put together element by element."""
    weight = layer.weight.clone()
    down = layer.lora_A
    for k in range(layer.adapter.r):
        weight = weight + torch.einsum(
            'o,...->o...', up.flatten(1)[:, k] * layer.adapter.alpha / layer.adapter.r, down[k]
        )
    if factor is not None:
        weight = weight * factor.view(-1, *(1,) * (weight.dim() - 1))
    return FUNCTIONS[weight.dim()](x, weight, layer.bias, *geometry(layer))


def assert_same(ours, theirs, inputs, **tolerance):
    torch.testing.assert_close(ours, theirs, **tolerance)
    grad = torch.randn_like(ours)
    torch.testing.assert_close(
        torch.autograd.grad(ours, inputs, grad, retain_graph=True),
        torch.autograd.grad(theirs, inputs, grad),
        **tolerance,
    )


@pytest.mark.parametrize('options', [{}, dict(compute='merged'), dict(compute='factored')])
@pytest.mark.parametrize('name', LAYERS)
def test_outputs_and_gradients_are_those_of_the_closed_formula(name, options):
    layer, x = build(name, **options)
    assert not layer.lora_A.requires_grad
    assert_same(layer(x), formula(layer, x, layer.lora_B), (x, layer.lora_B))


@pytest.mark.parametrize('method', [LoRA, DoRA])
@pytest.mark.parametrize('name', LAYERS)
def test_b_gets_the_gradient_that_it_has_beside_a_trained_a(name, method):
    layer, x = build(name, method=method)
    whole = adapted(LAYERS[name][0](), method).double()
    whole.load_state_dict(layer.state_dict())
    grad = torch.randn_like(layer(x))
    found, wanted = (torch.autograd.grad(one(x), (x, one.lora_B), grad) for one in (layer, whole))
    torch.testing.assert_close(found, wanted)
    assert whole.lora_A.requires_grad


@pytest.mark.parametrize('name', ['conv', 'grouped', '1d', '3d'])
def test_a_norm_behind_is_folded_in_the_same(name):
    layer, x = build(name)
    out = len(layer.weight)
    factor, shift = torch.rand(out).double() + 0.5, torch.randn(out).double()
    shape = (-1, *(1,) * (x.dim() - 2))
    wanted = formula(layer, x, layer.lora_B) * factor.view(shape) + shift.view(shape)
    assert_same(layer.compute(x, affine=(factor, shift)), wanted, (x, layer.lora_B))


@pytest.mark.parametrize('name', LAYERS)
def test_dropout_drops_the_input_of_what_is_added(name, monkeypatch):
    layer, x = build(name, dropout=0.25)
    mask = torch.rand(x.shape) > 0.25
    monkeypatch.setattr(
        'mmadapt.adapters.layers.dropout.draw_mask', lambda x, p: (mask, 1 / (1 - p))
    )
    base = FUNCTIONS[layer.weight.dim()](x, layer.weight, layer.bias, *geometry(layer))
    dropped = x * mask / 0.75
    added = formula(layer, dropped, layer.lora_B) - formula(layer, dropped, 0 * layer.lora_B)
    assert_same(layer(x), base + added, (x, layer.lora_B))


def kept_bytes(layer, run):
    with SavedForBackward(layer) as saved:
        output = run()
        return saved.bytes(), output


@pytest.mark.parametrize('options', [{}, dict(dropout=0.2), dict(compute='factored')])
@pytest.mark.parametrize('name', LAYERS)
def test_r_channels_are_kept_and_neither_the_input_nor_the_output(name, options):
    layer, x = build(name, torch.float32, **options)
    kept, y = kept_bytes(layer, lambda: layer(x))
    channels = 1 if isinstance(layer, nn.Conv2d | nn.Conv1d | nn.Conv3d) else -1
    narrow = y.nbytes // y.shape[channels] * R * getattr(layer, 'groups', 1)
    # And the factors: B with its scale, and A where it is made one of each group.
    assert narrow <= kept <= narrow + layer.lora_B.nbytes + 4 * layer.lora_A.nbytes
    assert kept < x.nbytes
    plain, _ = kept_bytes(whole := adapted(LAYERS[name][0](), **options), lambda: whole(x))
    assert plain >= x.nbytes  # which the same with a trained A keeps


def test_no_more_is_kept_of_a_norm_that_is_folded_in():
    layer, x = build('conv', torch.float32)
    affine = torch.rand(12), torch.rand(12)
    kept, y = kept_bytes(layer, lambda: layer.compute(x, affine=affine))
    assert kept <= y.nbytes // 12 * R + layer.lora_B.nbytes + affine[0].nbytes < x.nbytes


@pytest.mark.parametrize('name', ['conv', 'linear', 'linear, no bias'])
def test_under_autocast_r_channels_of_two_bytes_are_kept(name):
    layer, _ = build(name, torch.float32)
    x = torch.randn(8, *LAYERS[name][1], requires_grad=True)
    x = x.flatten(0, 1).detach().requires_grad_()
    with torch.autocast('cpu', torch.bfloat16):
        kept, y = kept_bytes(layer, lambda: layer(x))
    assert y.dtype == torch.bfloat16
    factors = 2 * sum(p.nbytes for p in layer.parameters())  # in both precisions
    assert y.nbytes // 12 * R <= kept <= y.nbytes // 12 * R + factors


@pytest.mark.parametrize('name', ['conv', 'strided', 'grouped', '1d', '3d'])
def test_under_autocast_it_learns_what_it_learns_in_full_precision(name):
    layer, x = build(name, torch.float32)
    gradients = []
    for enabled in (True, False):
        with torch.autocast('cpu', torch.bfloat16, enabled=enabled):
            y = layer(x)
        assert y.dtype == (torch.bfloat16 if enabled else torch.float32)
        grads = torch.autograd.grad(y.float().sum(), (x, layer.lora_B))
        gradients.append(torch.cat([t.flatten() for t in grads]))
    assert F.cosine_similarity(*gradients, dim=0) > 0.999


def uses_it(layer, x) -> bool:
    return type(layer(x).grad_fn).__name__ == f'{_LowRankConv.__name__}Backward'


def test_convolutions_of_any_size_keep_r_channels_where_that_is_less():
    x = torch.randn(1, 16, 5, 5)
    small = nn.Conv2d(16, 8, 3)
    assert small.weight.numel() < SMALLEST_WEIGHT
    assert uses_it(adapted(small, freeze_A=True, r=15), x)
    assert not uses_it(adapted(small, freeze_A=True, r=16), x)
    assert not uses_it(adapted(small, r=3), x)
    grouped = nn.Conv2d(16, 8, 3, groups=4)
    assert uses_it(adapted(grouped, freeze_A=True, r=3), x)
    assert not uses_it(adapted(grouped, freeze_A=True, r=4), x)
    assert not uses_it(adapted(nn.Conv2d(16, 16, 3, groups=16), freeze_A=True, r=2), x)


def test_a_rank_beyond_the_inputs_channels_keeps_the_smaller_of_both():
    side = int((SMALLEST_WEIGHT / 9) ** 0.5) + 1
    layer = adapted(nn.Conv2d(side, side, 3, padding=1), freeze_A=True, r=2 * side)
    x = torch.randn(1, side, 9, 9, requires_grad=True)
    assert uses_it(layer, x)
    kept, _ = kept_bytes(layer, lambda: layer(x))
    assert x.nbytes <= kept <= x.nbytes + layer.lora_B.nbytes
    many = torch.randn(1000, 8)
    assert adapted(nn.Linear(8, 32), freeze_A=True, r=7).is_factored(many)
    assert not adapted(nn.Linear(8, 32), freeze_A=True, r=8).is_factored(many)


@pytest.mark.parametrize('method', [LoRA, DoRA])
@pytest.mark.parametrize('init', ['pissa', 'olora'])
def test_a_start_from_the_weight_is_refused_and_the_remedy_named(method, init):
    with pytest.raises(
        UserError, match=rf"freeze_A=True .*init='{init}' .*init='kaiming', or"
    ) as e:
        method(freeze_A=True, init=init)
    assert len(str(e.value).splitlines()) == 1


@pytest.mark.parametrize('init', ['kaiming', 'gaussian', 'orthogonal'])
def test_every_other_start_computes_the_base_and_gives_b_a_gradient(init):
    stock, x = nn.Conv2d(8, 6, 3), torch.randn(1, 8, 5, 5)
    layer = copy.deepcopy(stock).requires_grad_(False)
    adapt_layer(layer, adapted_class(layer), LoRA(r=2, init=init, freeze_A=True))
    torch.testing.assert_close(layer.train()(x), stock(x), rtol=1e-4, atol=1e-5)
    layer(x).sum().backward()
    assert layer.lora_A.grad is None
    assert layer.lora_A.abs().min() > 0
    assert layer.lora_B.grad.abs().max() > 0
