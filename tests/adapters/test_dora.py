"""DoRA's norm: computed from factors, a constant for the gradient, zero without becoming NaN."""

import copy

import pytest
import torch
from layer_zoo import WEIGHTS
from torch import nn

from mmadapt.adapters import DoRA, adapt_layer, adapted_class

NAMES = [name for name in WEIGHTS if not name.startswith(('Std', 'Scaled', 'WS', 'AWS'))]


def adapt(layer, **arguments):
    adapt_layer(layer, adapted_class(layer), DoRA(r=4, alpha=6, **arguments))
    return layer


def perturb(layer):
    torch.manual_seed(1)
    with torch.no_grad():
        for name in layer.adapter_names:
            if name not in layer._buffers:
                getattr(layer, name).add_(torch.randn_like(getattr(layer, name)), alpha=0.3)
    return layer


@pytest.mark.parametrize('init', ['kaiming', 'pissa', 'olora'])
@pytest.mark.parametrize('name', NAMES)
def test_the_norm_from_factors_is_the_norm_of_the_sum(name, init):
    layer = perturb(adapt(WEIGHTS[name].make()[0], init=init))
    for part, (weight, _) in layer.weight_parts().items():
        tensors = layer.adapter_tensors(part)
        a, b = (tensors[key].double().flatten(1) for key in ('lora_A', 'lora_B'))
        v = weight.double().flatten(1) + 1.5 * b @ a
        if 'lora_A0' in tensors:
            v = v - 1.5 * tensors['lora_B0'].double().flatten(1) @ tensors[
                'lora_A0'
            ].double().flatten(1)
        wanted = tensors['magnitude'].double() / v.norm(dim=1)
        torch.testing.assert_close(
            layer.adapter.gain(weight, tensors).double(), wanted, rtol=1e-5, atol=0
        )


@pytest.mark.parametrize('compute', ['merged', 'factored'])
def test_the_norm_gets_no_gradient(compute):
    layer = perturb(adapt(nn.Linear(8, 6, bias=False), compute=compute))
    x = torch.randn(5, 8)
    v = layer.weight + 1.5 * layer.lora_B @ layer.lora_A
    gain = layer.magnitude / v.norm(dim=1)
    names = ('lora_A', 'lora_B', 'magnitude')
    tensors = [getattr(layer, name) for name in names]
    own = torch.autograd.grad(layer(x).square().sum(), tensors)
    detached = layer.magnitude / v.detach().norm(dim=1)
    wanted = torch.autograd.grad(
        (x @ (v * detached[:, None]).T).square().sum(), tensors, retain_graph=True
    )
    through = torch.autograd.grad((x @ (v * gain[:, None]).T).square().sum(), tensors)
    for name, left, right, other in zip(names, own, wanted, through, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-4)
        assert torch.allclose(left, other, rtol=1e-2) == (name == 'magnitude')


@pytest.mark.parametrize('compute', ['merged', 'factored'])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16])
def test_a_row_of_zeros_stays_zero_and_nothing_becomes_nan(compute, dtype):
    stock = nn.Linear(8, 6)
    with torch.no_grad():
        stock.weight[2] = 0
    layer = adapt(copy.deepcopy(stock).to(dtype), compute=compute)
    x = torch.randn(5, 8, dtype=dtype)
    torch.testing.assert_close(layer(x)[:, 2], layer.bias[2].expand(5))
    for magnitude in (0.0, 10.0):
        with torch.no_grad():
            layer.magnitude[2] = magnitude
        output = layer(x)
        assert output.isfinite().all()
        output.float().square().sum().backward()
        assert all(getattr(layer, name).grad.isfinite().all() for name in layer.adapter_names)
    # Once its factors give the row a direction, it has a length.
    with torch.no_grad():
        layer.lora_B.normal_()
        wanted = 10 * nn.functional.normalize(layer.lora_B[2] @ layer.lora_A, dim=0)
        output = layer.eval()(x).float()[:, 2] - layer.bias[2].float()
    assert output.norm() > 1
    torch.testing.assert_close(output, x.float() @ wanted, rtol=0.02, atol=0.1)


def test_the_magnitude_starts_at_the_lengths_of_the_rows_and_of_loaded_ones():
    layer, other = adapt(nn.Conv2d(4, 6, 3)), nn.Conv2d(4, 6, 3)
    torch.testing.assert_close(layer.magnitude, layer.weight.flatten(1).norm(dim=1))
    layer.load_state_dict(other.state_dict(), strict=False)
    layer.reset_adapter()
    torch.testing.assert_close(layer.magnitude, other.weight.flatten(1).norm(dim=1))
