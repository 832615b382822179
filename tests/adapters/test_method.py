"""A method of a third party: one registered class, and every kind of layer works with it."""

import copy

import pytest
import torch
import torch.nn.functional as F
from layer_zoo import KINDS, call
from torch import nn

import mmadapt
from mmadapt.adapters import ADAPTERS, AdapterMethod, adapt_layer, adapted_class

NAMES = (
    'linear',
    'conv grouped',
    'transposed grouped',
    'embedding',
    'attention self',
    'attention separate',
    'WS',
    'DCNv2',
)


class InputScale(AdapterMethod):
    """W' = W diag(1 + c), a factor for each input channel; b' = b + c[0]."""

    tensor_names = ('factor',)

    def __init__(self, dropout=0.0, attention=('q', 'v')):
        super().__init__(attention)
        self.dropout = dropout

    def create(self, weight, bias):
        return dict(factor=nn.Parameter(weight.new_zeros(weight.shape[1])))

    def adapt(self, weight, bias, tensors):
        factor = 1 + tensors['factor'].view(1, -1, *(1,) * (weight.dim() - 2))
        return weight * factor, self.adapt_bias(bias, tensors)

    def adapt_bias(self, bias, tensors):
        return None if bias is None else bias + tensors['factor'][0]

    def arguments(self):
        return dict(dropout=self.dropout, attention=list(self.attention))


@pytest.fixture
def registered():
    ADAPTERS.register_module(module=InputScale, force=True)
    yield
    ADAPTERS.module_dict.pop('InputScale')


@pytest.mark.parametrize('dropout', [0.0, 0.5])
@pytest.mark.parametrize('name', NAMES)
def test_it_works_on_every_kind_of_layer(name, dropout, monkeypatch):
    if name not in KINDS:
        pytest.skip('mmcv is built without its operators')
    monkeypatch.setattr(F, 'dropout', lambda x, p=0.5, training=True, inplace=False: x)
    monkeypatch.setattr(
        'mmadapt.adapters.layers.dropout.draw_mask',
        lambda x, p: (torch.ones_like(x, dtype=torch.bool), 1.0),
    )
    kind = KINDS[name]
    stock, args = kind.make()
    layer = copy.deepcopy(stock)
    adapt_layer(layer, adapted_class(stock), InputScale(dropout))
    assert layer.adapter_names == (
        ('factor_q', 'factor_v') if name.startswith('attention') else ('factor',)
    )
    torch.testing.assert_close(call(layer, args, kind), call(stock, args, kind))
    with torch.no_grad():
        for tensor in layer.adapter_names:
            getattr(layer, tensor).uniform_(-0.5, 0.5)
    output = call(layer.train(), args, kind)
    assert not torch.allclose(output, call(stock, args, kind), atol=1e-2)
    output.square().sum().backward()
    assert all(getattr(layer, tensor).grad.abs().max() > 0 for tensor in layer.adapter_names)
    layer.eval()
    wanted = call(layer, args, kind)
    torch.testing.assert_close(output, wanted, rtol=1e-5, atol=1e-5)
    layer.merge_adapter()
    torch.testing.assert_close(call(layer, args, kind), wanted, rtol=1e-5, atol=1e-5)
    if name == 'transposed grouped':  # (in, out / groups, ...): the first channel of each group
        assert torch.allclose(
            layer.weight[0] / stock.weight[0], layer.weight[2] / stock.weight[2], rtol=1e-4
        )


@pytest.mark.usefixtures('registered')
def test_a_config_names_it_and_a_model_trains_merges_and_loses_it():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
    attention = nn.MultiheadAttention(4, 2)
    model.add_module('attention', nn.ModuleDict(dict(inner=attention)))
    stock = copy.deepcopy(model.state_dict())
    mmadapt.inject(
        model,
        dict(
            method=dict(type='InputScale', attention=['out']),
            targets='auto',
            allow_random_base=True,
        ),
    )
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trained == ['0.factor', '3.factor', 'attention.inner.factor_out']
    x = torch.randn(2, 3, 6, 6)
    with torch.no_grad():
        model[0].factor.fill_(0.5)
        wanted = F.conv2d(x, stock['0.weight'] * 1.5, stock['0.bias'] + 0.5)
    torch.testing.assert_close(model[0](x), wanted)
    mmadapt.merge(model)
    torch.testing.assert_close(model[0](x), wanted)
    mmadapt.unmerge(model)
    mmadapt.remove(model)
    assert all(torch.equal(tensor, stock[name]) for name, tensor in model.state_dict().items())


@pytest.mark.usefixtures('registered')
def test_an_unknown_argument_of_it_is_refused_by_name():
    with pytest.raises(mmadapt.UserError, match="no key 'drop' for InputScale; nearest: 'dropout'"):
        mmadapt.inject(nn.Linear(3, 4), dict(method=dict(type='InputScale', drop=0.1)))


def test_a_layer_is_what_it_was_if_a_method_fails_on_it():
    class Failing(InputScale):
        def create(self, weight, bias):
            raise ValueError('no')

    layer = nn.Linear(3, 4)
    with pytest.raises(ValueError, match='no'):
        adapt_layer(layer, adapted_class(layer), Failing())
    assert type(layer) is nn.Linear
    assert set(vars(layer)) == set(vars(nn.Linear(3, 4)))
