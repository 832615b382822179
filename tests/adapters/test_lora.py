"""LoRA layers against the closed formula, against stock layers and against Hugging Face's PEFT."""

import copy

import pytest
import torch
import torch.nn.functional as F
from mmengine.model import initialize
from torch import nn

from mmadapt import UserError
from mmadapt.adapters import (
    AdapterLayer,
    LoRA,
    adapt_layer,
    adapted_class,
    attach_adapter,
    build_method,
)

R, ALPHA = 3, 5
CONVS = {
    'plain': dict(kernel_size=3),
    'stride': dict(kernel_size=3, stride=2, padding=1),
    'two strides': dict(kernel_size=3, stride=(1, 3), padding=(2, 0)),
    'same': dict(kernel_size=3, padding='same'),
    'same, even kernel': dict(kernel_size=4, padding='same'),
    'same, dilated': dict(kernel_size=3, padding='same', dilation=2),
    'valid': dict(kernel_size=3, padding='valid'),
    'dilation': dict(kernel_size=3, dilation=(2, 1), padding=1),
    'no bias': dict(kernel_size=3, bias=False),
    'groups': dict(kernel_size=3, groups=2, padding=1),
    'depthwise': dict(kernel_size=3, groups=8, padding=1, bias=False),
    'depthwise, strided, dilated': dict(kernel_size=3, groups=8, stride=2, dilation=2),
    'reflect': dict(kernel_size=3, padding=1, padding_mode='reflect'),
    'reflect, groups': dict(kernel_size=3, padding=1, padding_mode='reflect', groups=4),
    'circular, same': dict(kernel_size=(3, 5), padding='same', padding_mode='circular'),
    'replicate, stride': dict(kernel_size=3, padding=2, padding_mode='replicate', stride=2),
    '1x1': dict(kernel_size=1),
    'rectangular': dict(kernel_size=(1, 5), padding=(0, 2)),
    'rectangular, groups': dict(kernel_size=(5, 1), groups=2, dilation=(2, 1)),
}
LAYERS = {'linear': None, 'linear, no bias': dict(bias=False), **CONVS}


def attach(method, layer):
    adapt_layer(layer, adapted_class(layer), method)


def make(kind, **method):
    """Return a stock layer, its adapted copy with random A and B, and an input."""
    torch.manual_seed(3)
    options = LAYERS[kind]
    if kind.startswith('linear'):
        stock, x = nn.Linear(8, 6, **(options or {})), torch.randn(2, 5, 8)
    else:
        channels = 16 if options.get('groups') == 8 else 12
        stock, x = nn.Conv2d(8, channels, **options), torch.randn(2, 8, 11, 13)
    adapted = copy.deepcopy(stock)
    attach(LoRA(r=R, alpha=ALPHA, **method), adapted)
    adapted.weight.requires_grad_(False)
    return stock, adapted, x


def perturb(layer, seed=5):
    torch.manual_seed(seed)
    with torch.no_grad():
        layer.lora_A.normal_(std=0.3)
        layer.lora_B.normal_(std=0.3)
    return layer


def formula(layer):
    """W + alpha / r * sum_k B[:, k] A[k, :], by einsum."""
    b = layer.lora_B.reshape(layer.weight.shape[0], R)
    return layer.weight + ALPHA / R * torch.einsum('or,r...->o...', b, layer.lora_A)


def with_weight(stock, weight):
    """What the stock layer computes with another weight."""
    return lambda x: torch.func.functional_call(stock, {'weight': weight}, x)


@pytest.fixture
def no_drop(monkeypatch):
    """Dropout that is asked for and drops nothing: the factored way without the noise."""
    monkeypatch.setattr(F, 'dropout', lambda x, p=0.5, training=True, inplace=False: x)


@pytest.mark.parametrize('kind', LAYERS)
def test_an_untrained_layer_computes_bit_for_bit_what_the_stock_layer_does(kind):
    stock, adapted, x = make(kind)
    assert type(adapted) is adapted_class(stock)
    for training in (True, False):
        assert torch.equal(adapted.train(training)(x), stock(x))


@pytest.mark.parametrize('kind', LAYERS)
def test_an_untrained_layer_with_dropout_computes_what_the_stock_layer_does(kind):
    stock, adapted, x = make(kind, dropout=0.5)
    assert torch.equal(adapted.train()(x), stock(x))


@pytest.mark.parametrize('kind', LAYERS)
def test_output_is_that_of_the_stock_layer_with_the_formulas_weight(kind):
    stock, adapted, x = make(kind)
    perturb(adapted)
    wanted = with_weight(stock, formula(adapted))(x)
    assert (wanted - stock(x)).abs().max() > 0.1
    torch.testing.assert_close(adapted(x), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('kind', LAYERS)
def test_the_factored_way_computes_what_the_merged_way_does(kind, no_drop):
    _, adapted, x = make(kind, dropout=0.3)
    perturb(adapted)
    factored, merged = adapted.train()(x), adapted.eval()(x)
    torch.testing.assert_close(factored, merged, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize('kind', LAYERS)
@pytest.mark.parametrize('dropout', [0.0, 0.3])
def test_gradients_are_those_of_the_formula(kind, dropout, no_drop):
    stock, adapted, x = make(kind, dropout=dropout)
    perturb(adapted).train()
    weights = torch.randn_like(adapted(x))
    x.requires_grad_()
    own = torch.autograd.grad((adapted(x) * weights).sum(), [adapted.lora_A, adapted.lora_B, x])
    wanted = torch.autograd.grad((with_weight(stock, formula(adapted))(x) * weights).sum(),
                                 [adapted.lora_A, adapted.lora_B, x])
    for ours, theirs in zip(own, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('kind', ['linear', 'stride', 'depthwise'])
@pytest.mark.parametrize('dropout', [0.0, 0.3])
def test_the_frozen_weight_gets_no_gradient_and_both_adapter_tensors_do(kind, dropout):
    _, adapted, x = make(kind, dropout=dropout)
    perturb(adapted).train()(x).square().sum().backward()
    assert adapted.weight.grad is None
    assert adapted.lora_A.grad.abs().max() > 0
    assert adapted.lora_B.grad.abs().max() > 0


@pytest.mark.parametrize('kind', ['linear', 'plain', 'groups'])
def test_dropout_drops_in_training_only_and_only_in_the_branch(kind):
    stock, adapted, x = make(kind, dropout=0.5)
    perturb(adapted)
    assert not torch.equal(adapted.train()(x), adapted(x))
    assert torch.equal(adapted.eval()(x), adapted(x))
    outputs = torch.stack([adapted.train()(x) for _ in range(400)])
    torch.testing.assert_close(outputs.mean(0), adapted.eval()(x), rtol=0,
                               atol=5 * outputs.std(0).max().item() / 20)
    with torch.no_grad():
        adapted.lora_B.zero_()
    assert torch.equal(adapted.train()(x), stock(x))


@pytest.mark.parametrize('kind', LAYERS)
def test_merging_gives_a_stock_layer_that_computes_the_same(kind):
    stock, adapted, x = make(kind)
    wanted = perturb(adapted)(x)
    keys = set(stock.state_dict())
    adapted.merge_adapter()
    assert type(adapted) is type(stock)
    assert set(adapted.state_dict()) == keys
    assert not [name for name in vars(adapted) if name.startswith('lora')]
    torch.testing.assert_close(adapted(x), wanted, rtol=1e-5, atol=1e-5)
    assert torch.equal(adapted.weight.data, copy.deepcopy(adapted).weight.data)


def test_attaching_again_what_was_detached_gives_back_every_bit():
    stock, adapted, x = make('groups', dropout=0.2)
    before, parameter = perturb(adapted).eval()(x), adapted.lora_A
    adapter = adapted.detach_adapter()
    assert torch.equal(adapted(x), stock(x))
    attach_adapter(adapted, **adapter)
    assert torch.equal(adapted(x), before)
    assert adapted.lora_A is parameter  # an optimiser holds it
    assert adapted.adapter.dropout == 0.2


def test_merging_leaves_a_bias_and_its_identity_alone():
    stock, adapted, _ = make('linear')
    bias = adapted.bias
    perturb(adapted).merge_adapter()
    assert adapted.bias is bias
    assert torch.equal(bias, stock.bias)


@pytest.mark.parametrize('kind', ['linear', 'depthwise'])
def test_state_dict_has_the_stock_keys_and_the_two_tensors_of_the_adapter(kind):
    stock, adapted, _ = make(kind)
    assert set(adapted.state_dict()) == set(stock.state_dict()) | {'lora_A', 'lora_B'}
    assert adapted.lora_A.shape == (R, *stock.weight.shape[1:])
    assert adapted.lora_B.flatten(1).shape == (stock.weight.shape[0], R)


@pytest.mark.parametrize('kind', ['linear', 'groups'])
def test_copies_and_pickles_compute_the_same_and_share_nothing(kind, tmp_path):
    _, adapted, x = make(kind, dropout=0.25)
    perturb(adapted).eval()
    torch.save(adapted, tmp_path / 'layer.pt')
    for clone in (copy.deepcopy(adapted), torch.load(tmp_path / 'layer.pt', weights_only=False)):
        assert type(clone) is type(adapted)
        assert clone.adapter.dropout == 0.25
        assert torch.equal(clone(x), adapted(x))
        with torch.no_grad():
            clone.lora_B.add_(1)
        assert not torch.equal(clone(x), adapted(x))


def test_a_shared_layer_is_adapted_under_all_its_names():
    shared = nn.Linear(4, 4)
    model = nn.ModuleDict(dict(a=shared, b=shared))
    attach(LoRA(r=R), model['a'])
    assert model['b'] is model['a'] is shared
    x = torch.randn(2, 4)
    perturb(model['b'])
    assert torch.equal(model['a'](x), model['b'](x))


def test_a_stock_checkpoint_loads_strictly_and_leaves_the_adapter_alone():
    stock, adapted, _ = make('plain')
    model, fresh = nn.Sequential(perturb(adapted)), nn.Sequential(nn.Conv2d(8, 12, 3))
    kept = adapted.lora_A.detach().clone()
    result = model.load_state_dict(fresh.state_dict(), strict=True)
    assert not result.missing_keys
    assert torch.equal(adapted.weight, fresh[0].weight)
    assert torch.equal(adapted.lora_A, kept)


@pytest.mark.parametrize('lacking', ['lora_A', 'lora_B'])
def test_a_checkpoint_with_half_an_adapter_is_reported(lacking):
    _, adapted, _ = make('linear')
    model = nn.Sequential(adapted)
    state = model.state_dict()
    del state[f'0.{lacking}']
    with pytest.raises(RuntimeError, match=f'Missing key.*0.{lacking}'):
        model.load_state_dict(state)


def test_a_stock_checkpoint_without_the_weight_is_still_reported():
    _, adapted, _ = make('linear')
    with pytest.raises(RuntimeError, match=r'Missing key\(s\) in state_dict: "weight"'):
        adapted.load_state_dict({'bias': adapted.bias})


def test_adapted_mmcv_wrappers_stay_what_they_are():
    wrappers = pytest.importorskip('mmcv.cnn.bricks.wrappers')
    for stock, x in ((wrappers.Linear(4, 6), torch.randn(2, 4)),
                     (wrappers.Conv2d(4, 6, 3), torch.randn(2, 4, 5, 5))):
        kind, before = type(stock), stock(x)
        attach(LoRA(r=R), stock)
        assert isinstance(stock, kind)
        assert isinstance(stock, AdapterLayer)
        assert torch.equal(stock(x), before)
        wanted = perturb(stock)(x)
        stock.merge_adapter()
        assert type(stock) is kind
        torch.testing.assert_close(stock(x), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('module', [
    nn.ReLU(), nn.MultiheadAttention(4, 2).out_proj, nn.Embedding(3, 4, max_norm=1.0)])
def test_a_layer_that_computes_something_else_is_not_taken_for_one_that_can_be_adapted(module):
    assert adapted_class(module) is None


def test_a_subclass_of_a_layer_is_not_taken_for_the_layer():
    class Standardised(nn.Conv2d):
        def forward(self, x):
            return self._conv_forward(x, self.weight - self.weight.mean(), self.bias)

    assert adapted_class(Standardised(4, 4, 3)) is None


@pytest.mark.parametrize(('kind', 'layer'), [('linear', 'Linear'), ('plain', 'Conv2d')])
def test_mmengines_initialisers_still_find_the_weight_and_never_the_adapter(kind, layer):
    _, adapted, _ = make(kind)
    a = adapted.lora_A.detach().clone()
    initialize(nn.Sequential(adapted), dict(type='Constant', layer=layer, val=0.75, bias=0.5))
    assert adapted.weight.eq(0.75).all()
    assert adapted.bias.eq(0.5).all()
    assert torch.equal(adapted.lora_A, a)
    assert adapted.lora_B.eq(0).all()


def test_mmengines_initialisers_still_find_the_weight_of_mmcvs_layers():
    wrappers = pytest.importorskip('mmcv.cnn.bricks.wrappers')
    layer = wrappers.Conv2d(4, 6, 3)
    attach(LoRA(r=R), layer)
    initialize(nn.Sequential(layer), dict(type='Constant', layer='Conv2d', val=0.75))
    assert layer.weight.eq(0.75).all()
    assert layer.lora_B.eq(0).all()


def test_init_weights_of_a_conv_module_does_not_touch_the_adapter():
    cnn = pytest.importorskip('mmcv.cnn')
    block = cnn.ConvModule(4, 6, 3)
    attach(LoRA(r=R), block.conv)
    weight = block.conv.weight.detach().clone()
    block.init_weights()
    assert not torch.equal(block.conv.weight, weight)
    assert block.conv.lora_B.eq(0).all()


@pytest.mark.parametrize('kind', ['linear', 'reflect', 'groups'])
@pytest.mark.parametrize('dropout', [0.0, 0.3])
def test_an_adapted_layer_compiles_without_a_graph_break(kind, dropout):
    _, adapted, x = make(kind, dropout=dropout)
    perturb(adapted).train(dropout == 0)
    compiled = torch.compile(adapted, fullgraph=True, backend='eager')
    torch.testing.assert_close(compiled(x), adapted(x))
    if dropout:
        assert torch.compile(adapted.train(), fullgraph=True, backend='eager')(x) is not None


@pytest.mark.parametrize('kind', ['linear', 'plain'])
@pytest.mark.parametrize('dropout', [0.0, 0.3])
def test_autocast_computes_in_bfloat16_and_keeps_the_adapters_gradients_in_float32(
        kind, dropout, no_drop):
    _, adapted, x = make(kind, dropout=dropout)
    wanted = perturb(adapted).train()(x)
    with torch.autocast('cpu', torch.bfloat16):
        out = adapted(x)
    assert out.dtype == torch.bfloat16
    largest = wanted.abs().max().item()
    torch.testing.assert_close(out.float(), wanted, rtol=0.05, atol=0.05 * largest)
    out.float().sum().backward()
    assert adapted.lora_A.grad.dtype == torch.float32
    assert adapted.lora_A.grad.abs().max() > 0


@pytest.mark.parametrize('kind', ['linear', 'plain'])
@pytest.mark.parametrize('dropout', [0.0, 0.3])
def test_a_base_in_half_precision_trains_with_an_adapter_in_float32(kind, dropout):
    stock, _, x = make(kind)
    stock = stock.bfloat16()
    attach(LoRA(r=R, dropout=dropout), stock)
    assert stock.lora_A.dtype == torch.float32
    out = perturb(stock).train()(x.bfloat16())
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    assert stock.lora_A.grad.abs().max() > 0
    merged = stock.eval()(x.bfloat16())
    stock.merge_adapter()
    assert stock.weight.dtype == torch.bfloat16
    torch.testing.assert_close(stock(x.bfloat16()), merged)


def test_the_rank_is_what_was_asked_for_also_beyond_that_of_the_weight():
    layer = nn.Conv2d(3, 4, 1)
    attach(LoRA(r=32, alpha=16), layer)
    assert layer.lora_A.shape == (32, 3, 1, 1)
    assert layer.lora_B.shape == (4, 32, 1, 1)
    assert layer.adapter.scale == 0.5


@pytest.mark.parametrize(('arguments', 'message'), [
    (dict(r=0), 'peft.method.r must be an integer of at least 1, got 0'),
    (dict(r=-2), 'peft.method.r .* got -2'),
    (dict(r=2.0), 'peft.method.r .* got 2.0'),
    (dict(r=True), 'peft.method.r .* got True'),
    (dict(r='8'), "peft.method.r .* got '8'"),
    (dict(alpha=0), 'peft.method.alpha must be a positive number, got 0'),
    (dict(alpha=-1), 'peft.method.alpha .* got -1'),
    (dict(alpha='16'), "peft.method.alpha .* got '16'"),
    (dict(alpha=float('nan')), 'peft.method.alpha .* got nan'),
    (dict(alpha=float('inf')), 'peft.method.alpha .* got inf'),
    (dict(dropout=1), r'peft.method.dropout must be in \[0, 1\), got 1'),
    (dict(dropout=-0.1), 'peft.method.dropout .* got -0.1'),
    (dict(dropout='0.1'), "peft.method.dropout .* got '0.1'"),
])
def test_a_value_out_of_range_is_refused_by_name(arguments, message):
    with pytest.raises(UserError, match=message):
        LoRA(**arguments)


def test_a_method_is_built_again_from_its_own_description():
    method = build_method(LoRA(r=5, alpha=7.5, dropout=0.2).to_dict())
    assert (method.r, method.alpha, method.dropout) == (5, 7.5, 0.2)


@pytest.mark.parametrize('kind', ['linear', 'linear, no bias', 'plain', 'stride', '1x1',
                                  'rectangular', 'no bias'])
def test_output_gradients_and_merged_weight_are_those_of_hugging_faces_peft(kind):
    peft = pytest.importorskip('peft', reason='peft, the reference, is not installed')
    stock, adapted, x = make(kind)
    perturb(adapted).train()
    config = peft.LoraConfig(r=R, lora_alpha=ALPHA, lora_dropout=0.0, target_modules=['0'])
    theirs = peft.get_peft_model(nn.Sequential(copy.deepcopy(stock)), config)
    layer = theirs.base_model.model[0]
    a, b = layer.lora_A['default'].weight, layer.lora_B['default'].weight
    with torch.no_grad():
        a.copy_(adapted.lora_A)
        b.copy_(adapted.lora_B)
    torch.testing.assert_close(adapted(x), theirs(x), rtol=1e-5, atol=1e-5)
    weights = torch.randn_like(adapted(x))
    (adapted(x) * weights).sum().backward()
    (theirs(x) * weights).sum().backward()
    torch.testing.assert_close(adapted.lora_A.grad, a.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(adapted.lora_B.grad, b.grad, rtol=1e-4, atol=1e-4)
    adapted.merge_adapter()
    merged = theirs.merge_and_unload()[0]
    torch.testing.assert_close(adapted.weight, merged.weight, rtol=1e-5, atol=1e-5)


def test_fuse_conv_bn_of_an_adapted_conv_is_refused_and_of_a_merged_one_is_right():
    utils = pytest.importorskip('mmcv.cnn.utils')
    cnn = pytest.importorskip('mmcv.cnn')
    block = cnn.ConvModule(4, 6, 3, norm_cfg=dict(type='BN')).eval()
    nn.init.uniform_(block.bn.running_mean)
    attach(LoRA(r=R), block.conv)
    perturb(block.conv).weight.requires_grad_(False)
    x = torch.randn(1, 4, 7, 7)
    wanted = block(x)
    with pytest.raises(UserError, match='weight of an adapted Conv2d .* mmadapt.merge'):
        utils.fuse_conv_bn(copy.deepcopy(block))
    block.conv.merge_adapter()
    torch.testing.assert_close(utils.fuse_conv_bn(block)(x), wanted, rtol=1e-5, atol=1e-5)


def test_loading_with_assign_is_not_mistaken_for_a_replaced_weight():
    _, adapted, x = make('linear')
    adapted.weight.requires_grad_(False)
    wanted = perturb(adapted)(x)
    state = copy.deepcopy(adapted.state_dict())
    with torch.no_grad():
        adapted.weight.zero_()
    adapted.load_state_dict(state, assign=True)
    assert torch.equal(adapted(x), wanted)
    assert not adapted.weight.requires_grad
