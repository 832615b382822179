"""Every kind of layer with every method, against the closed formulas."""

import copy
import re

import pytest
import torch
import torch.nn.functional as F
from layer_formulas import formula
from layer_zoo import ALPHA, KINDS, NORMS, STANDARDIZED, WEIGHTS, R, call
from torch import nn

from mmadapt import UserError
from mmadapt.adapters import (
    SSF,
    DoRA,
    LoRA,
    adapt_layer,
    adapted_class,
    attach_adapter,
    write_tensors,
)
from mmadapt.norms import freeze_statistics

METHODS = {'LoRA': LoRA, 'DoRA': DoRA, 'SSF': SSF}
FROZEN = [name for name in NORMS if name.startswith('BatchNorm')]
# Without a bias there is nothing that SSF could train in them.
NOTHING = [('WS, grouped', 'SSF'), ('StdConvSame', 'SSF')]
CASES = (
    [(kind, method) for kind in WEIGHTS for method in METHODS if (kind, method) not in NOTHING]
    + [(kind, 'SSF') for kind in NORMS]
    + [(f'frozen {kind}', 'SSF') for kind in FROZEN]
)
LOW_RANK = [(kind, method) for kind, method in CASES if method != 'SSF']
every_case = pytest.mark.parametrize(('kind', 'method'), CASES)
every_low_rank_case = pytest.mark.parametrize(('kind', 'method'), LOW_RANK)


class Pair:
    """A stock layer, the same layer adapted, and how both are called."""

    def __init__(self, name, method, dtype=torch.float32, seed=3, **arguments):
        self.kind = KINDS[name.removeprefix('frozen ')]
        self.stock, args = self.kind.make(seed)
        self.stock.to(dtype)
        self.args = tuple(a.to(dtype) if a.is_floating_point() else a for a in args)
        if len({id(a) for a in args}) == 1:
            self.args = self.args[:1] * len(args)
        if name.startswith('frozen'):
            freeze_statistics(self.stock, name)
        if method != 'SSF':
            arguments = dict(r=R, alpha=ALPHA, **arguments)
        self.adapted = copy.deepcopy(self.stock)
        self.fresh = METHODS[method](**self.kind.options, **arguments)
        adapt_layer(self.adapted, adapted_class(self.stock), self.fresh)
        self.names = [
            name for name in self.adapted.adapter_names if name in self.adapted._parameters
        ]

    def perturb(self, *names, seed=5):
        torch.manual_seed(seed)
        with torch.no_grad():
            for name in names or self.names:
                getattr(self.adapted, name).add_(
                    torch.randn_like(getattr(self.adapted, name)), alpha=0.25
                )
        return self

    def train(self, mode=True):
        self.stock.train(mode)
        self.adapted.train(mode)
        return self

    def __call__(self, layer=None, args=None):
        return call(layer or self.adapted, args or self.args, self.kind)

    def wanted(self):
        """What the stock layer computes with the closed formula's parameters."""
        return torch.func.functional_call(
            Calling(copy.deepcopy(self.stock), self.kind),
            {f'layer.{k}': v for k, v in formula(self.stock, self.adapted).items()},
            self.args,
        )


class Calling(nn.Module):
    def __init__(self, layer, kind):
        super().__init__()
        self.layer, self.kind = layer, kind

    def forward(self, *args):
        return call(self.layer, args, self.kind)


def assert_close(ours, theirs, tolerance=1e-5):
    """Compare on the scale of the largest value: sums of many terms round."""
    scale = max(theirs.abs().max().item(), 1.0)
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance * scale)


def assert_computes_the_formula(pair):
    """Compare outputs, and gradients for the adapter's tensors and the inputs."""
    for arg in pair.args:
        arg.requires_grad_(arg.is_floating_point())
    tensors = [pair.adapted.get_parameter(name) for name in pair.names]
    tensors = [tensor for tensor in tensors if tensor.requires_grad]
    tensors += [arg for arg in dict.fromkeys(pair.args) if arg.requires_grad]
    ours, wanted = pair(), pair.wanted()
    assert_close(ours, wanted)
    weights = torch.randn_like(ours)
    own = torch.autograd.grad((ours * weights).sum(), tensors)
    theirs = torch.autograd.grad((wanted * weights).sum(), tensors)
    for left, right in zip(own, theirs, strict=True):
        assert_close(left, right, 2e-5)


@pytest.fixture
def no_drop(monkeypatch):
    """Dropout that is asked for and drops nothing: its way of computing without the noise."""
    monkeypatch.setattr(F, 'dropout', lambda x, p=0.5, training=True, inplace=False: x)
    monkeypatch.setattr(
        'mmadapt.adapters.layers.dropout.draw_mask',
        lambda x, p: (torch.ones_like(x, dtype=torch.bool), 1.0),
    )


@every_case
@pytest.mark.parametrize('training', [True, False])
def test_until_it_is_trained_a_layer_computes_what_the_stock_layer_does(kind, method, training):
    pair = Pair(kind, method).train(training)
    # Where there is a gradient to be, torch chooses other kernels for some attentions.
    pair.stock.requires_grad_()
    with torch.set_grad_enabled(training):
        ours, theirs = pair(), pair(pair.stock)
    if method == 'DoRA':
        assert_close(ours, theirs, 1e-6)
    else:
        assert torch.equal(ours, theirs)
    for name, buffer in pair.stock.named_buffers():
        assert torch.equal(pair.adapted.get_buffer(name), buffer)


@pytest.mark.parametrize(
    ('kind', 'method', 'training'),
    [(kind, method, True) for kind, method in CASES] + [(kind, 'SSF', False) for kind in NORMS],
)
def test_output_and_gradients_are_those_of_the_closed_formula(kind, method, training):
    pair = Pair(kind, method).perturb().train(training)
    assert (pair.wanted() - pair(copy.deepcopy(pair.stock))).abs().max() > 1e-3
    assert_computes_the_formula(pair)


@every_case
def test_each_tensor_of_an_adapter_changes_the_output_and_gets_a_gradient(kind, method):
    pair = Pair(kind, method).perturb().train()
    before = pair()
    (before * torch.randn_like(before)).sum().backward()
    for name in pair.names:
        assert getattr(pair.adapted, name).grad.abs().max() > 1e-4, name
        changed = copy.deepcopy(pair)
        assert (changed.perturb(name, seed=6)() - before).abs().max() > 1e-3, name
    assert all(p.grad is None for p in pair.adapted.parameters() if not p.requires_grad)


@pytest.mark.parametrize('kind', sorted(STANDARDIZED))
def test_nothing_is_trained_that_standardizing_a_weight_undoes(kind):
    pair = Pair(kind, 'DoRA')
    assert pair.names == ['lora_A', 'lora_B']
    if pair.stock.bias is not None:
        assert Pair(kind, 'SSF').names == ['ssf_shift']
        return
    with pytest.raises(UserError, match=f'nothing to train in a {type(pair.stock).__name__} '):
        Pair(kind, 'SSF')
    stock = copy.deepcopy(pair.stock)
    with pytest.raises(UserError):
        adapt_layer(stock, adapted_class(stock), SSF())
    assert type(stock) is type(pair.stock)


@every_case
def test_merging_gives_a_stock_layer_and_taking_it_out_gives_back_every_bit(kind, method):
    pair = Pair(kind, method).perturb().train(False)
    wanted, parameters = pair(), formula(pair.stock, pair.adapted)
    weights = copy.deepcopy(dict(pair.adapted.state_dict()))
    held = dict(pair.adapted.named_parameters())
    kept, adapter = pair.adapted.merge_adapter()
    assert type(pair.adapted) is type(pair.stock)
    assert list(pair.adapted.state_dict()) == list(pair.stock.state_dict())
    assert set(vars(pair.adapted)) == set(vars(pair.stock))
    assert_close(pair(), wanted)
    for name, tensor in parameters.items():
        assert_close(pair.adapted.get_parameter(name), tensor)
    write_tensors(pair.adapted, kept)
    assert torch.equal(pair(), pair(pair.stock))
    attach_adapter(pair.adapted, **adapter)
    assert torch.equal(pair(), wanted)
    for name, tensor in pair.adapted.state_dict().items():
        assert torch.equal(tensor, weights[name])
    # An optimizer holds them.
    assert all(held[name] is p for name, p in pair.adapted.named_parameters())


@every_case
def test_a_state_dict_has_the_stock_keys_and_restores_an_adapter(kind, method):
    pair, other = Pair(kind, method).perturb(), Pair(kind, method, seed=8)
    state = pair.adapted.state_dict()
    assert set(state) == set(pair.stock.state_dict()) | set(pair.adapted.adapter_names)
    other.adapted.load_state_dict(copy.deepcopy(state), strict=True)
    assert torch.equal(pair.train(False)(), pair(other.train(False).adapted))


@every_case
def test_copies_compute_the_same_and_share_nothing_and_aliases_stay_one(kind, method, tmp_path):
    pair = Pair(kind, method).perturb().train(False)
    model = nn.ModuleDict(dict(first=pair.adapted, second=pair.adapted))
    torch.save(model, tmp_path / 'model.pt')
    for clone in (copy.deepcopy(model), torch.load(tmp_path / 'model.pt', weights_only=False)):
        assert clone['first'] is clone['second']
        assert type(clone['first']) is type(pair.adapted)
        assert clone['first'].adapter.to_dict() == pair.fresh.to_dict()
        assert torch.equal(pair(clone['second']), pair())
        kept = pair()
        for name in pair.names:
            getattr(clone['first'], name).data.add_(1)
        assert torch.equal(pair(), kept)
        clone['first'].merge_adapter()
        assert type(clone['second']) is type(pair.stock)
        assert 'adapter' not in vars(clone['second'])


@every_low_rank_case
def test_dropout_that_drops_nothing_computes_the_same(kind, method, no_drop):
    assert_computes_the_formula(Pair(kind, method, dropout=0.3).perturb().train())


@every_low_rank_case
def test_dropout_changes_only_what_the_adapter_adds_and_only_in_training(kind, method):
    pair = Pair(kind, method, dropout=0.5).train()
    assert_close(pair(), pair(pair.stock), 1e-6)
    pair.perturb()
    if not kind.startswith('embedding'):
        assert not torch.equal(pair(), pair())
    assert torch.equal(pair.train(False)(), pair())


@every_low_rank_case
@pytest.mark.parametrize('compute', ['merged', 'factored'])
def test_both_ways_to_compute_give_the_same(kind, method, compute):
    pair = Pair(kind, method, compute=compute).perturb()
    assert_computes_the_formula(pair)
    has_factors = not (
        kind.startswith(('attention', 'DCN', 'embedding, freq')) or kind in STANDARDIZED
    )
    if not kind.startswith('attention'):
        assert pair.adapted.is_factored(pair.args[0]) == (has_factors and compute == 'factored')


@every_low_rank_case
@pytest.mark.parametrize(
    'options', [{}, dict(compute='factored'), dict(dropout=0.3)], ids=['auto', 'factored', 'drop']
)
def test_a_frozen_a_computes_the_formula_and_only_the_rest_trains(kind, method, options, no_drop):
    pair = Pair(kind, method, freeze_A=True, **options).perturb().train()
    frozen = [name for name in pair.names if not pair.adapted.get_parameter(name).requires_grad]
    assert frozen == [name for name in pair.names if name.startswith('lora_A')]
    assert_computes_the_formula(pair)


@every_case
@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16])
def test_a_base_of_another_precision_keeps_it_and_its_adapter_trains_in_float32(
    kind, method, dtype
):
    pair = Pair(kind, method, dtype)
    if stock_output(pair) is None:
        return
    assert {getattr(pair.adapted, name).dtype for name in pair.names} == {torch.float32}
    # DoRA's norms are float32.
    assert_close(pair(), pair(pair.stock), {torch.float64: 1e-6, torch.bfloat16: 0.02}[dtype])
    pair.perturb()
    output, wanted = pair(), pair.wanted()
    assert output.dtype == dtype
    assert_close(output, wanted, {torch.float64: 1e-6, torch.bfloat16: 0.04}[dtype])
    (output * torch.randn_like(output)).sum().backward()
    for name in pair.names:
        assert getattr(pair.adapted, name).grad.dtype == torch.float32
    pair.adapted.merge_adapter()
    assert {p.dtype for p in pair.adapted.parameters()} == {dtype}
    assert_close(pair(), output, {torch.float64: 1e-6, torch.bfloat16: 0.04}[dtype])


def stock_output(pair):
    """What the stock layer gives; None if it has no such precision, as the adapted one then too."""
    try:
        return pair(copy.deepcopy(pair.stock))
    except (RuntimeError, NotImplementedError) as error:
        with pytest.raises(type(error), match=re.escape(str(error).splitlines()[0])):
            pair()
        return None


@pytest.mark.parametrize(
    ('kind', 'method', 'arguments'),
    [(*case, {}) for case in CASES] + [(*case, dict(dropout=0.3)) for case in LOW_RANK],
)
def test_autocast_gives_the_precision_of_the_stock_layer(kind, method, arguments, no_drop):
    pair = Pair(kind, method, **arguments).perturb()
    wanted = pair()
    with torch.autocast('cpu', torch.bfloat16):
        stock = stock_output(pair)
        if stock is None:
            return
        output = pair()
    assert output.dtype == stock.dtype
    assert_close(output.float(), wanted, 0.04)
    (output.float() * torch.randn_like(wanted)).sum().backward()
    for name in pair.names:
        assert getattr(pair.adapted, name).grad.isfinite().all()
