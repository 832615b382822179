"""What adapted layers are to the rest of a model: checkpoints, initializers, operations on them."""

import copy

import pytest
import torch
from mmengine.model import initialize
from torch import nn

from mmadapt import UserError
from mmadapt.adapters import SSF, AdapterLayer, DoRA, LoRA, adapt_layer, adapted_class

LAYERS = {'linear': lambda: nn.Linear(8, 6), 'conv': lambda: nn.Conv2d(8, 12, 3, groups=2)}


def adapt(layer, method=None):
    adapt_layer(layer, adapted_class(layer), method or LoRA(r=3, alpha=5))
    return layer


def make(kind='linear'):
    torch.manual_seed(3)
    return adapt(LAYERS[kind]().requires_grad_(False))


def perturb(layer):
    torch.manual_seed(5)
    with torch.no_grad():
        for name in layer.adapter_names:
            getattr(layer, name).add_(torch.randn_like(getattr(layer, name)), alpha=0.3)
    return layer


def test_a_stock_checkpoint_loads_strictly_and_leaves_the_adapter_alone():
    model, fresh = nn.Sequential(perturb(make('conv'))), nn.Sequential(LAYERS['conv']())
    kept = model[0].lora_A.detach().clone()
    assert not model.load_state_dict(fresh.state_dict(), strict=True).missing_keys
    assert torch.equal(model[0].weight, fresh[0].weight)
    assert torch.equal(model[0].lora_A, kept)


@pytest.mark.parametrize('lacking', ['lora_A', 'lora_B'])
def test_a_checkpoint_with_half_an_adapter_is_reported(lacking):
    model = nn.Sequential(make())
    state = model.state_dict()
    del state[f'0.{lacking}']
    with pytest.raises(RuntimeError, match=f'Missing key.*0.{lacking}'):
        model.load_state_dict(state)


def test_a_stock_checkpoint_without_the_weight_is_still_reported():
    layer = make()
    with pytest.raises(RuntimeError, match=r'Missing key\(s\) in state_dict: "weight"'):
        layer.load_state_dict({'bias': layer.bias})


def test_loading_with_assign_is_not_mistaken_for_a_replaced_weight():
    layer, x = perturb(make()), torch.randn(2, 8)
    wanted, state = layer(x), copy.deepcopy(layer.state_dict())
    layer.weight.zero_()
    layer.load_state_dict(state, assign=True)
    assert torch.equal(layer(x), wanted)
    assert not layer.weight.requires_grad


@pytest.mark.parametrize(
    'module', [nn.ReLU(), nn.MultiheadAttention(4, 2).out_proj, nn.Embedding(3, 4, max_norm=1.0)]
)
def test_a_layer_that_computes_something_else_is_not_taken_for_one_that_can_be_adapted(module):
    assert adapted_class(module) is None


def test_a_subclass_of_a_layer_is_not_taken_for_the_layer():
    class Standardized(nn.Conv2d):
        def forward(self, x):
            return self._conv_forward(x, self.weight - self.weight.mean(), self.bias)

    assert adapted_class(Standardized(4, 4, 3)) is None


@pytest.mark.parametrize(('kind', 'layer'), [('linear', 'Linear'), ('conv', 'Conv2d')])
def test_mmengines_initializers_still_find_the_weight_and_never_the_adapter(kind, layer):
    adapted = make(kind)
    a = adapted.lora_A.detach().clone()
    initialize(nn.Sequential(adapted), dict(type='Constant', layer=layer, val=0.75, bias=0.5))
    assert adapted.weight.eq(0.75).all()
    assert adapted.bias.eq(0.5).all()
    assert torch.equal(adapted.lora_A, a)
    assert adapted.lora_B.eq(0).all()


def test_mmengines_initializers_still_find_the_weight_of_mmcvs_layers():
    wrappers = pytest.importorskip('mmcv.cnn.bricks.wrappers')
    layer = adapt(wrappers.Conv2d(4, 6, 3))
    assert isinstance(layer, AdapterLayer)
    assert isinstance(layer, wrappers.Conv2d)
    initialize(nn.Sequential(layer), dict(type='Constant', layer='Conv2d', val=0.75))
    assert layer.weight.eq(0.75).all()
    assert layer.lora_B.eq(0).all()


def test_init_weights_of_a_conv_module_does_not_touch_the_adapter():
    cnn = pytest.importorskip('mmcv.cnn')
    block = cnn.ConvModule(4, 6, 3)
    adapt(block.conv)
    weight = block.conv.weight.detach().clone()
    block.init_weights()
    assert not torch.equal(block.conv.weight, weight)
    assert block.conv.lora_B.eq(0).all()


def test_fuse_conv_bn_of_an_adapted_conv_is_refused_and_of_a_merged_one_is_right():
    utils = pytest.importorskip('mmcv.cnn.utils')
    cnn = pytest.importorskip('mmcv.cnn')
    block = cnn.ConvModule(4, 6, 3, norm_cfg=dict(type='BN')).eval()
    nn.init.uniform_(block.bn.running_mean)
    block.conv.weight.requires_grad_(False)
    perturb(adapt(block.conv))
    x = torch.randn(1, 4, 7, 7)
    wanted = block(x)
    with pytest.raises(UserError, match='weight of an adapted Conv2d .* mmadapt.merge'):
        utils.fuse_conv_bn(copy.deepcopy(block))
    block.conv.merge_adapter()
    torch.testing.assert_close(utils.fuse_conv_bn(block)(x), wanted, rtol=1e-5, atol=1e-5)


def test_merging_leaves_a_bias_that_is_not_adapted_alone_and_keeps_parameters():
    layer = perturb(make())
    weight, bias, value = layer.weight, layer.bias, layer.bias.clone()
    layer.merge_adapter()
    assert layer.bias is bias
    assert layer.weight is weight
    assert torch.equal(bias, value)


@pytest.mark.parametrize('method', [LoRA, DoRA, SSF])
def test_merging_keeps_channels_last(method):
    layer = adapt(nn.Conv2d(8, 6, 3), method()).to(memory_format=torch.channels_last)
    layer.merge_adapter()
    assert layer.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize('method', [LoRA, DoRA])
def test_an_embedding_never_changes_its_padding_and_has_gradients_that_adam_takes(method):
    stock = nn.Embedding(7, 6, padding_idx=2, sparse=True)
    nn.init.normal_(stock.weight)
    layer = adapt(copy.deepcopy(stock).requires_grad_(False), method())
    tokens = torch.tensor([[2, 3], [1, 2]])
    optimizer = torch.optim.Adam([getattr(layer, name) for name in layer.adapter_names], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        layer(tokens).square().sum().backward()
        optimizer.step()
    output = layer(tokens)
    assert torch.equal(output[0, 0], stock.weight[2])
    assert not torch.allclose(output[0, 1], stock.weight[3], atol=0.05)
    layer.merge_adapter()
    torch.testing.assert_close(layer(tokens), output)
    assert torch.equal(layer.weight[2], stock.weight[2])


def test_an_attention_keeps_torchs_fast_path_in_eval_mode(monkeypatch):
    calls = []
    native = torch._native_multi_head_attention
    monkeypatch.setattr(
        torch, '_native_multi_head_attention', lambda *args: calls.append(args) or native(*args)
    )
    layer = adapt(nn.MultiheadAttention(8, 2, batch_first=True), LoRA(r=2)).eval()
    perturb(layer)
    x = torch.randn(2, 5, 8)
    with torch.no_grad():
        fast = layer(x, x, x)[0]
    assert len(calls) == 1
    torch.testing.assert_close(fast, layer(x, x, x)[0], rtol=1e-5, atol=1e-5)
    assert len(calls) == 1


@pytest.mark.parametrize('method', [SSF(), DoRA(r=2), DoRA(r=2, compute='factored')])
def test_half_precision_does_not_swallow_small_changes_of_a_scale(method):
    layer = adapt(nn.Linear(256, 6).bfloat16().requires_grad_(False), method)
    name = 'ssf_scale' if isinstance(method, SSF) else 'magnitude'
    x = torch.randn(512, 256).bfloat16()
    before = layer(x).float()
    with torch.no_grad():
        # Below half of what bfloat16 tells from one: as a factor in bfloat16 it would be one.
        getattr(layer, name).mul_(1.0035)
    slope = (layer(x).float() * before).sum(0) / before.square().sum(0)
    assert 1.0025 < slope.mean() < 1.006
