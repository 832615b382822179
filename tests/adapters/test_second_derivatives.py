"""Second derivatives of every gradient that is written by hand: right, or refused."""

import importlib
import pkgutil

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck, gradgradcheck

import mmadapt
from mmadapt.adapters.layers.dropout import _DropAndMap
from mmadapt.adapters.layers.low_rank_conv import _LowRankConv
from mmadapt.folding.scaled_conv import _RescaledConv
from mmadapt.meters.like_cuda import _Kernel
from mmadapt.quantization.linear import _FrozenProduct


def random(*shape, grad=True):
    return torch.randn(*shape, dtype=torch.float64).requires_grad_(grad)


class Frozen(nn.Linear):
    """Unpacks to its own weight; no library is needed for that."""

    def unpack(self, dtype):
        return self.weight.detach().to(dtype)


def dropped(geometry):
    """A map that drops the same elements whenever it is called."""

    def function(x, weight):
        torch.manual_seed(0)
        return _DropAndMap.apply(x, weight, 0.3, geometry)

    return function


def dropped_convolution():
    return dropped(((2, 1), (1, 0), (1, 1), 1)), (random(2, 3, 5, 5), random(4, 3, 3, 3))


def dropped_product():
    return dropped(None), (random(2, 3, 5), random(4, 5))


def dropped_frozen_convolution():
    function, (x, weight) = dropped_convolution()
    return lambda x: function(x, weight.detach()).pow(2), (x,)


def dropped_frozen_product():
    function, (x, weight) = dropped_product()
    return lambda x: function(x, weight.detach()).pow(2), (x,)


def frozen_product():
    layer = Frozen(5, 4, dtype=torch.float64)
    # Squared behind it: the map itself is linear.
    return lambda x: _FrozenProduct.apply(x, layer).pow(2), (random(2, 3, 5),)


def rescaled_convolution():
    weight, bias = random(4, 3, 3, 3, grad=False), random(4, grad=False)
    factor = random(4, grad=False)
    geometry = (1, 1), (1, 1), (1, 1), 1
    return (
        lambda x, *affine: _RescaledConv.apply(x, weight, factor, bias, *affine, geometry, None),
        (random(2, 3, 5, 5), random(4), random(4)),
    )


def low_rank_convolution():
    weight, geometry = random(4, 3, 3, 3, grad=False), ((1, 1), (1, 1), (1, 1), 1)
    return (
        lambda x, down, up: _LowRankConv.apply(x, weight, None, None, down, up, geometry),
        (random(2, 3, 5, 5), random(2, 3, 3, 3), random(4, 2)),
    )


RIGHT = {
    _DropAndMap: (
        dropped_convolution,
        dropped_product,
        dropped_frozen_convolution,
        dropped_frozen_product,
    ),
    _FrozenProduct: (frozen_product,),
}
REFUSED = {_RescaledConv: (rescaled_convolution,), _LowRankConv: (low_rank_convolution,)}


def cases(functions):
    return [
        pytest.param(make, id=make.__name__) for makers in functions.values() for make in makers
    ]


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def test_every_gradient_written_by_hand_is_among_them():
    found = set()
    for module in pkgutil.walk_packages(mmadapt.__path__, 'mmadapt.'):
        try:
            names = vars(importlib.import_module(module.name))
        except ImportError:  # of an extra's package
            continue
        found |= {
            value
            for value in names.values()
            if isinstance(value, type)
            and issubclass(value, torch.autograd.Function)
            and value.__module__.startswith('mmadapt.')
            and value is not _Kernel  # which computes nothing
        }
    assert found == {*RIGHT, *REFUSED}


@pytest.mark.parametrize('make', [*cases(RIGHT), *cases(REFUSED)])
def test_first_derivatives_are_right(make):
    assert gradcheck(*make(), nondet_tol=0.0, atol=1e-6)


@pytest.mark.parametrize('make', cases(RIGHT))
def test_second_derivatives_are_right(make):
    assert gradgradcheck(*make(), atol=1e-6)


@pytest.mark.parametrize('make', cases(REFUSED))
def test_second_derivatives_that_would_be_wrong_are_refused(make):
    function, inputs = make()
    gradients = torch.autograd.grad(function(*inputs).pow(2).sum(), inputs, create_graph=True)
    with pytest.raises(RuntimeError, match='once_differentiable'):
        sum(g.pow(2).sum() for g in gradients).backward()
