"""Dropout of whole channels of the input of what is added, which is a change of the weight alone."""

import copy

import pytest
import torch
import torch.nn.functional as F
from layer_formulas import formula
from layer_zoo import ALPHA, KINDS, WEIGHTS, R, call
from torch import nn

from mmadapt import UserError, inject, load_adapter, save_adapter
from mmadapt.adapters import DoRA, LoRA, adapt_layer, adapted_class
from mmadapt.adapters.layers.low_rank_conv import SMALLEST_WEIGHT, _LowRankConv
from mmadapt.adapters.lora import MASK
from mmadapt.memory.checkpointing import recompute
from mmadapt.meters.step import SavedForBackward

P = 0.4
CHANNEL = dict(dropout=P, dropout_mode='channel')
METHODS = {'LoRA': LoRA, 'DoRA': DoRA}
CASES = [(kind, method) for kind in WEIGHTS for method in METHODS]
OPTIONS = {'auto': {}, 'factored': dict(compute='factored'), 'frozen A': dict(freeze_A=True)}


def adapted(stock, method=LoRA, **options):
    """Return an adapted copy of a layer in training, whose adapter is not the identity."""
    layer = copy.deepcopy(stock).requires_grad_(False)
    torch.manual_seed(1)
    adapt_layer(layer, adapted_class(layer), method(**{'r': R, 'alpha': ALPHA, **options}))
    with torch.no_grad():
        for name in layer.adapter_names:
            getattr(layer, name).add_(torch.randn_like(getattr(layer, name)), alpha=0.25)
    return layer.train()


def drawn(layer, seed):
    """Return the masks that a step draws from a seed, by the suffix of a weight's tensors."""
    torch.manual_seed(seed)
    parts = [part for part in layer.weight_parts() if not isinstance(layer, nn.Embedding)]
    masks = {part: layer.adapter.drop_channels(layer.adapter_tensors(part))[MASK] for part in parts}
    return {f'_{part}' if part else '': mask for part, mask in masks.items()}


def columns_of(layer, masks):
    """Return what dropout multiplies the flattened columns of each A with."""
    return {
        part: mask.expand_as(getattr(layer, f'lora_A{part}')[:1]).flatten()
        for part, mask in masks.items()
    }


def assert_close(ours, theirs, tolerance=2e-5):
    """Compare on the scale of the largest value: sums of many terms round."""
    scale = max(theirs.abs().max().item(), 1.0)
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize('options', OPTIONS)
@pytest.mark.parametrize(('kind', 'method'), CASES)
def test_output_and_gradients_are_those_of_the_closed_formula_with_that_mask(kind, method, options):
    stock, args = KINDS[kind].make()
    layer = adapted(stock, METHODS[method], **KINDS[kind].options, **CHANNEL, **OPTIONS[options])
    kept = columns_of(layer, drawn(layer, 7))
    torch.manual_seed(7)
    ours = call(layer, args, KINDS[kind])
    state = torch.get_rng_state()
    drawn(layer, 7)
    assert torch.equal(torch.get_rng_state(), state)  # one draw for each weight, and no more
    whole = Calling(stock, KINDS[kind])
    parameters = {f'layer.{k}': v for k, v in formula(stock, layer, kept).items()}
    wanted = torch.func.functional_call(whole, parameters, args)
    assert_close(ours, wanted)
    names = [name for name in layer.adapter_names if layer.get_parameter(name).requires_grad]
    tensors, grad = [layer.get_parameter(name) for name in names], torch.randn_like(ours)
    found = torch.autograd.grad(ours, tensors, grad)
    for own, their in zip(found, torch.autograd.grad(wanted, tensors, grad), strict=True):
        assert_close(own, their)


class Calling(nn.Module):
    def __init__(self, layer, kind):
        super().__init__()
        self.layer, self.kind = layer, kind

    def forward(self, *args):
        return call(self.layer, args, self.kind)


@pytest.mark.parametrize(('kind', 'method'), CASES)
def test_evaluation_and_merging_in_training_drop_nothing(kind, method):
    stock, args = KINDS[kind].make()
    layer = adapted(stock, METHODS[method], **KINDS[kind].options, **CHANNEL)
    parameters, state = formula(stock, layer), torch.get_rng_state()
    evaluated = call(layer.eval(), args, KINDS[kind])
    layer.train().merge_adapter()
    assert torch.equal(torch.get_rng_state(), state)
    for name, tensor in parameters.items():
        assert_close(layer.get_parameter(name), tensor)
    assert_close(call(layer.eval(), args, KINDS[kind]), evaluated)


@pytest.mark.parametrize('kind', ['linear', 'conv grouped', 'transposed grouped', 'conv 1d'])
def test_a_dropped_channel_says_nothing_and_learns_nothing(kind):
    stock, (x,) = KINDS[kind].make()
    nn.init.zeros_(stock.weight)  # so that the adapter alone is heard
    layer = adapted(stock, **CHANNEL)
    for seed in range(20):
        mask = drawn(layer, seed)[''].flatten()
        if 0 < mask.count_nonzero() < len(mask):
            break
    dropped, groups = mask == 0, getattr(layer, 'groups', 1)
    channels = dropped.repeat(groups).nonzero().flatten()
    other = x.index_fill(-1 if kind == 'linear' else 1, channels, 100.0)
    outputs = []
    for given in (x, other):
        torch.manual_seed(seed)
        outputs.append(layer(given))
    torch.testing.assert_close(*outputs)
    assert (layer.eval()(other) - layer(x)).abs().max() > 1
    outputs[0].square().sum().backward()
    columns = layer.lora_A.grad.transpose(0, 1).flatten(1).abs().amax(1)
    assert torch.equal(columns == 0, dropped)


@pytest.mark.parametrize('kind', ['linear', 'conv plain', 'conv depthwise', 'attention q and v'])
def test_channels_are_dropped_as_often_as_asked_for_and_keep_the_mean(kind):
    layer = adapted(KINDS[kind].make()[0], **KINDS[kind].options, **CHANNEL)
    masks = torch.cat([m.flatten() for seed in range(400) for m in drawn(layer, seed).values()])
    assert masks.unique().tolist() == pytest.approx([0.0, 1 / (1 - P)])
    deviation = (P * (1 - P) / len(masks)) ** 0.5
    assert abs((masks == 0).double().mean().item() - P) < 4 * deviation


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('kind', ['linear', 'conv grouped', 'transposed plain', 'DCNv2'])
def test_the_mean_over_many_draws_is_what_there_is_without_dropout(kind, method):
    if kind not in KINDS:
        pytest.skip('mmcv is built without its operators')
    stock, args = KINDS[kind].make()
    layer = adapted(stock, METHODS[method], **CHANNEL)
    with torch.no_grad():
        torch.manual_seed(0)
        outputs = torch.stack([call(layer, args, KINDS[kind]) for _ in range(600)])
        wanted = call(layer.eval(), args, KINDS[kind])
    assert outputs.std(0).max() > 0.05
    error = (outputs.mean(0) - wanted).abs()
    assert (error < 5 * outputs.std(0) / 600**0.5 + 1e-5).all()


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('kind', ['linear', 'conv plain', 'transposed plain', 'attention self'])
def test_what_is_recomputed_drops_the_same_channels(kind, method):
    stock, args = KINDS[kind].make()
    gradients = []
    for again in (False, True):
        layer = adapted(stock, METHODS[method], **CHANNEL)
        if again:
            recompute(layer)
        torch.manual_seed(3)
        output = call(layer, args, KINDS[kind])
        torch.rand(5)  # the generator is elsewhere by then
        output.square().sum().backward()
        gradients.append([getattr(layer, name).grad for name in layer.adapter_names])
    for plain, recomputed in zip(*gradients, strict=True):
        assert torch.equal(plain, recomputed)


@pytest.mark.parametrize('kind', ['linear', 'conv grouped', 'transposed grouped', 'attention self'])
def test_a_layer_compiles_without_a_graph_break(kind):
    torch._dynamo.reset()
    stock, args = KINDS[kind].make()
    layer = adapted(stock, **CHANNEL)
    compiled = torch.compile(layer, fullgraph=True, backend='eager')
    assert call(compiled, args, KINDS[kind]).isfinite().all()
    layer.eval()
    assert_close(call(compiled, args, KINDS[kind]), call(layer, args, KINDS[kind]))


@pytest.mark.parametrize('freeze', [False, True])
def test_a_large_convolution_goes_by_the_factors_and_keeps_no_more_than_without(freeze):
    side = int((SMALLEST_WEIGHT / 9) ** 0.5) + 1
    stock, x = nn.Conv2d(side, side, 3), torch.randn(1, side, 6, 6)
    kept = []
    for options in ({}, CHANNEL):
        layer = adapted(stock, freeze_A=freeze, **options)
        with SavedForBackward(layer) as saved:
            y = layer(x)
            kept.append(saved.bytes())
        assert type(y.grad_fn).__name__ == f'{_LowRankConv.__name__}Backward'
    assert kept[0] < kept[1] <= kept[0] + layer.lora_A.nbytes + 4 * side


def test_a_norm_behind_is_folded_in_the_same():
    stock, x = nn.Conv2d(8, 12, 3), torch.randn(2, 8, 5, 6)
    factor, shift = torch.rand(12) + 0.5, torch.randn(12)
    for method in METHODS.values():
        for options in OPTIONS.values():
            layer = adapted(stock, method, **CHANNEL, **options)
            kept = columns_of(layer, drawn(layer, 3))
            parameters = formula(stock, layer, kept)
            wanted = F.conv2d(x, parameters['weight'], parameters['bias'])
            torch.manual_seed(3)
            ours = layer.compute(x, affine=(factor, shift))
            assert_close(ours, wanted * factor.view(-1, 1, 1) + shift.view(-1, 1, 1))


@pytest.mark.parametrize('init', ['pissa', 'olora'])
def test_what_starts_from_the_weight_computes_the_base_whatever_is_dropped(init):
    stock, x = nn.Linear(8, 6), torch.randn(5, 8)
    layer = copy.deepcopy(stock)
    adapt_layer(layer, adapted_class(layer), LoRA(r=2, init=init, **CHANNEL))
    assert_close(layer.train()(x), stock(x))
    with torch.no_grad():
        layer.lora_B.add_(1)
    mask = drawn(layer, 2)['']
    torch.manual_seed(2)
    change = layer.lora_B @ layer.lora_A - layer.lora_B0 @ layer.lora_A0
    assert_close(layer(x), stock(x) + (x * mask) @ change.T * layer.adapter.scale)


@pytest.mark.parametrize('method', METHODS.values())
def test_a_mode_without_dropout_and_unknown_ones_are_refused(method):
    with pytest.raises(UserError, match="dropout_mode='channel' .*; write a dropout such as") as e:
        method(dropout_mode='channel')
    assert len(str(e.value).splitlines()) == 1
    with pytest.raises(UserError, match="dropout_mode='chanel' is not one of .*nearest: 'channel'"):
        method(dropout=0.1, dropout_mode='chanel')
    assert method(dropout=0.1).dropout_mode == 'element'


def test_values_of_an_adapter_go_into_one_that_drops_otherwise(tmp_path):
    base = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    models = [copy.deepcopy(base) for _ in range(2)]
    for model, options in zip(models, (CHANNEL, {}), strict=True):
        inject(model, dict(method=dict(type='LoRA', r=2, **options), targets=['0']))
    save_adapter(models[0], str(tmp_path / 'a'))
    load_adapter(models[1], str(tmp_path / 'a'))
    assert torch.equal(models[1][0].lora_A, models[0][0].lora_A)
