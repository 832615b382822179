"""Dropout before a linear map, against the same written out."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmadapt.adapters import LoRA, adapt_layer, adapted_class
from mmadapt.adapters.layers import dropout
from mmadapt.adapters.layers.dropout import draw_mask, drop_and_map

CASES = {
    'linear': ((2, 5, 8), (6, 8), None),
    'conv1d': ((2, 8, 9), (6, 8, 3), ((2,), (1,), (1,), 1)),
    'conv2d': ((2, 8, 9, 7), (6, 8, 3, 3), ((1, 2), (1, 0), (2, 1), 1)),
    'depthwise': ((2, 8, 9, 7), (16, 1, 3, 3), ((1, 1), (1, 1), (1, 1), 8)),
    'conv3d': ((1, 4, 5, 4, 3), (6, 4, 1, 2, 3), ((1, 1, 1), (0, 1, 1), (1, 1, 1), 1)),
}


@pytest.mark.parametrize('case', CASES)
def test_output_and_gradients_are_those_of_the_masked_input(case, monkeypatch):
    torch.manual_seed(0)
    size, shape, geometry = CASES[case]
    x, weight = torch.randn(size, requires_grad=True), torch.randn(shape, requires_grad=True)
    mask, scale = draw_mask(x, 0.3)
    monkeypatch.setattr(dropout, 'draw_mask', lambda x, p: (mask, scale))
    functions = {2: F.linear, 3: F.conv1d, 4: F.conv2d, 5: F.conv3d}
    wanted = functions[weight.dim()](x * mask / 0.7, weight, None, *(geometry or ()))
    found = drop_and_map(x, weight, 0.3, geometry)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    grad = torch.randn_like(wanted)
    for ours, theirs in zip(
        torch.autograd.grad(found, (x, weight), grad),
        torch.autograd.grad(wanted, (x, weight), grad),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_an_input_without_a_gradient_gets_none_and_the_weight_its_own():
    x, weight = torch.randn(3, 8), torch.randn(6, 8, requires_grad=True)
    drop_and_map(x, weight, 0.5).sum().backward()
    assert weight.grad.abs().sum() > 0


@pytest.mark.parametrize('probability', [0.001, 0.1, 0.5, 0.9, 1e-9])
def test_the_mask_drops_as_often_as_asked_for_and_keeps_the_mean(probability):
    torch.manual_seed(1)
    mask, scale = draw_mask(torch.empty(1000, 1001), probability)
    drawn = max(probability, 2**-16)
    deviation = (drawn * (1 - drawn) / mask.numel()) ** 0.5
    assert abs((~mask).double().mean() - probability) < 5 * deviation + 2e-5
    assert abs(mask.double().mean() * scale - 1) < 5 * deviation * scale + 1e-9


def test_what_is_dropped_depends_on_the_seed_alone_and_not_on_the_neighbors():
    masks = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        masks.append(draw_mask(torch.empty(50, 41), 0.3)[0])
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])
    torch.manual_seed(5)
    columns = draw_mask(torch.empty(100_000, 4), 0.5)[0].double()
    assert (torch.corrcoef(columns.T) - torch.eye(4)).abs().max() < 0.02


def kept_bytes(function):
    """Return the bytes that a map keeps for its backward pass, each storage once, and its output."""
    saved = {}

    def pack(tensor):
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        out = function()
    return sum(saved.values()), out


@pytest.mark.parametrize('case', CASES)
@pytest.mark.parametrize('trained', [True, False])
def test_only_the_weight_and_for_its_gradient_the_input_are_kept(case, trained):
    size, shape, geometry = CASES[case]
    x, weight = torch.randn(size, requires_grad=True), torch.randn(shape, requires_grad=trained)
    kept, out = kept_bytes(lambda: drop_and_map(x, weight, 0.3, geometry))
    assert kept == weight.nbytes + (x.nbytes if trained else 0)
    # Nor is anything hidden from the hooks: what else it holds is the state of the generator.
    assert {key for key, value in vars(out.grad_fn).items() if torch.is_tensor(value)} == set()
    assert [s.shape for s in vars(out.grad_fn)['state'] if s is not None] == [
        torch.get_rng_state().shape
    ] * (1 + torch.cuda.is_available())


@pytest.mark.parametrize('case', CASES)
@pytest.mark.parametrize('trained', [True, False])
def test_backward_drops_what_forward_dropped_and_leaves_the_generator_alone(case, trained):
    torch.manual_seed(0)
    size, shape, geometry = CASES[case]
    x, weight = torch.randn(size, requires_grad=True), torch.randn(shape, requires_grad=trained)
    inputs = (x, weight) if trained else (x,)
    state = torch.get_rng_state()
    mask, scale = draw_mask(x, 0.3)
    after = torch.get_rng_state()
    functions = {2: F.linear, 3: F.conv1d, 4: F.conv2d, 5: F.conv3d}
    wanted = functions[weight.dim()](x * mask * scale, weight, None, *(geometry or ()))
    torch.set_rng_state(state)
    found = drop_and_map(x, weight, 0.3, geometry)
    assert torch.equal(torch.get_rng_state(), after)
    assert torch.equal(found, wanted)
    grad = torch.rand_like(found)  # and the generator is elsewhere by now
    elsewhere = torch.get_rng_state()
    ours = torch.autograd.grad(found, inputs, grad)
    assert torch.equal(torch.get_rng_state(), elsewhere)
    for own, their in zip(ours, torch.autograd.grad(wanted, inputs, grad), strict=True):
        torch.testing.assert_close(own, their, rtol=1e-5, atol=1e-5)
    assert torch.equal(ours[0] == 0, ours[0].masked_fill(~mask, 0) == 0)


@pytest.mark.parametrize(
    'layer', [nn.Linear(64, 64, bias=False), nn.Conv2d(64, 64, 3, padding=1, bias=False)]
)
def test_a_layer_keeps_its_input_once_and_r_channels_beside_it(layer):
    adapt_layer(layer, adapted_class(layer), LoRA(r=4, dropout=0.2))
    layer.weight.requires_grad_(False)
    x = torch.randn(2, 64, 32, 64) if layer.weight.dim() == 4 else torch.randn(4096, 64)
    x.requires_grad_()
    weights = 2 * sum(p.nbytes for p in layer.parameters())
    kept, _ = kept_bytes(lambda: layer.train()(x))
    assert x.nbytes * (1 + 4 / 64) <= kept <= x.nbytes * (1 + 4 / 64) + weights


def test_autocast_keeps_gradients_in_their_types():
    x, weight = torch.randn(2, 8, 5, 5, requires_grad=True), torch.randn(6, 8, 3, 3)
    weight.requires_grad_()
    with torch.autocast('cpu', torch.bfloat16):
        out = drop_and_map(x, weight, 0.1, ((1, 1), (1, 1), (1, 1), 1))
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    assert x.grad.dtype == weight.grad.dtype == torch.float32
