"""First values of LoRA's factors against SciPy's factorizations of the same weights."""

import copy

import pytest
import scipy.linalg
import torch
from layer_zoo import KINDS, WEIGHTS, call
from torch import nn

from mmadapt import UserError
from mmadapt.adapters import DoRA, LoRA, adapt_layer, adapted_class

# Those whose product does not start at zero because B does.
INITS = ('orthogonal', 'pissa', 'olora')
SHAPES = {
    'linear': lambda: nn.Linear(12, 7),
    'conv': lambda: nn.Conv2d(8, 12, 3, groups=2),
    'transposed': lambda: nn.ConvTranspose2d(8, 12, 3, groups=2),
    'embedding': lambda: nn.Embedding(9, 6),
}


@pytest.fixture(autouse=True)
def _same_weights():
    torch.manual_seed(0)


def adapt(layer, method):
    adapt_layer(layer, adapted_class(layer), method)
    return layer


def matrix_of(layer):
    """The weight as the matrix (out, everything else), by loops where it is not laid out so."""
    weight = layer.weight.detach()
    if isinstance(layer, nn.Embedding):
        return weight.T
    if not isinstance(layer, nn.ConvTranspose2d):
        return weight.flatten(1)
    outs, ins = layer.out_channels // layer.groups, layer.in_channels // layer.groups
    return torch.stack(
        [
            torch.cat([weight[group * ins + i, out].flatten() for i in range(ins)])
            for group in range(layer.groups)
            for out in range(outs)
        ]
    )


@pytest.mark.parametrize('method', [LoRA, DoRA])
@pytest.mark.parametrize('init', INITS)
@pytest.mark.parametrize('kind', WEIGHTS)
def test_a_layer_computes_what_it_did_whatever_its_factors_start_from(kind, init, method):
    stock, args = KINDS[kind].make()
    for compute in ('merged', 'factored'):
        layer = adapt(copy.deepcopy(stock), method(r=4, init=init, compute=compute))
        ours, theirs = call(layer, args, KINDS[kind]), call(stock, args, KINDS[kind])
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
        exact = method is LoRA and compute == 'merged' and init != 'orthogonal'
        # A frozen attention takes other kernels of torch's than one that trains.
        if exact and not kind.startswith('attention'):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize('method', [LoRA, DoRA])
@pytest.mark.parametrize('r', [3, 40])
@pytest.mark.parametrize('kind', SHAPES)
def test_pissa_starts_from_the_largest_singular_components(kind, r, method):
    layer = adapt(SHAPES[kind](), method(r=r, alpha=5, init='pissa'))
    left, values, right = scipy.linalg.svd(matrix_of(layer).double().numpy(), full_matrices=False)
    k = min(r, len(values))
    a, b = layer.lora_A.flatten(1).double(), layer.lora_B.flatten(1).double()
    # The sign of a component is free; its halves share it.
    signs = torch.sign((a[:k] * torch.from_numpy(right[:k])).sum(1))
    root = torch.from_numpy(values[:k]).div(5 / r).sqrt() * signs
    torch.testing.assert_close(
        a[:k], root[:, None] * torch.from_numpy(right[:k].copy()), rtol=1e-4, atol=5e-5
    )
    torch.testing.assert_close(
        b[:, :k], torch.from_numpy(left[:, :k].copy()) * root, rtol=1e-4, atol=5e-5
    )
    if r > k:
        torch.testing.assert_close(5 / r * b @ a, matrix_of(layer).double(), rtol=1e-4, atol=1e-5)
        assert a[k:].abs().min() > 0
        assert not b[:, k:].any()


@pytest.mark.parametrize('r', [3, 40])
@pytest.mark.parametrize('kind', SHAPES)
def test_olora_starts_from_the_first_columns_and_rows_of_a_qr_factorization(kind, r):
    layer = adapt(SHAPES[kind](), LoRA(r=r, init='olora'))
    left, right = (
        torch.from_numpy(part)
        for part in scipy.linalg.qr(matrix_of(layer).double().numpy(), mode='economic')
    )
    k = min(r, left.shape[1])
    a, b = layer.lora_A.flatten(1).double(), layer.lora_B.flatten(1).double()
    signs = torch.sign((b[:, :k] * left[:, :k]).sum(0))
    torch.testing.assert_close(b[:, :k], left[:, :k] * signs, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(a[:k], signs[:, None] * right[:k], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('init', ['pissa', 'olora'])
@pytest.mark.parametrize('kind', SHAPES)
def test_what_trains_is_the_weight_without_its_first_part_plus_the_factors(kind, init):
    layer = adapt(SHAPES[kind](), LoRA(r=4, alpha=6, init=init))
    a0, b0 = layer.lora_A.detach().flatten(1).clone(), layer.lora_B.detach().flatten(1).clone()
    stock = matrix_of(layer).clone()
    with torch.no_grad():
        layer.lora_A.add_(torch.randn_like(layer.lora_A))
        layer.lora_B.add_(torch.randn_like(layer.lora_B))
    a, b = layer.lora_A.detach().flatten(1), layer.lora_B.detach().flatten(1)
    layer.merge_adapter()
    torch.testing.assert_close(
        matrix_of(layer), stock + 1.5 * (b @ a - b0 @ a0), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize('init', ['pissa', 'olora'])
@pytest.mark.parametrize('method', [LoRA, DoRA])
def test_factors_begin_anew_from_weights_that_were_loaded_also_in_channels_last(init, method):
    first, second = nn.Conv2d(8, 6, 3), nn.Conv2d(8, 6, 3)
    layer = adapt(first, method(r=4, init=init)).to(memory_format=torch.channels_last)
    layer.load_state_dict(second.state_dict(), strict=False)
    layer.reset_adapter()
    wanted = adapt(copy.deepcopy(second), method(r=4, init=init))
    for name in layer.adapter_names:
        torch.testing.assert_close(getattr(layer, name).contiguous(), getattr(wanted, name))
    x = torch.randn(2, 8, 7, 7)
    torch.testing.assert_close(layer(x), second(x), rtol=1e-5, atol=1e-5)


def test_kaiming_is_the_distribution_of_a_linear_layer_and_gaussian_one_over_r():
    a = adapt(nn.Conv2d(64, 8, 3), LoRA(r=16)).lora_A
    bound = (64 * 9) ** -0.5
    assert 0.99 * bound < a.abs().max() <= bound
    assert a.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
    a = adapt(nn.Linear(1000, 8), LoRA(r=16, init='gaussian')).lora_A
    assert a.std().item() == pytest.approx(1 / 16, rel=0.02)


def test_orthogonal_factors_are_not_zero_and_their_product_is():
    layer = adapt(nn.Conv2d(8, 6, 3), LoRA(r=4, init='orthogonal'))
    a, b = layer.lora_A.flatten(1), layer.lora_B.flatten(1)
    assert torch.linalg.matrix_rank(a) == torch.linalg.matrix_rank(b) == 2
    assert (b @ a).abs().max() < 1e-7
    assert min(a.abs().max(), b.abs().max()) > 0.05
    with pytest.raises(UserError, match='even rank'):
        LoRA(r=3, init='orthogonal')


@pytest.mark.parametrize('method', [LoRA, DoRA])
def test_rslora_scales_by_the_root_of_the_rank(method):
    layer = adapt(nn.Linear(8, 6), method(r=4, alpha=6, rslora=True))
    stock = layer.weight.detach().clone()
    with torch.no_grad():
        layer.lora_B.normal_()
        if method is DoRA:  # so that the direction's own length shows
            layer.magnitude.copy_((stock + 3 * layer.lora_B @ layer.lora_A).norm(dim=1))
    wanted = stock + 3 * layer.lora_B @ layer.lora_A
    layer.merge_adapter()
    torch.testing.assert_close(layer.weight, wanted, rtol=1e-5, atol=1e-5)
