"""Activation checkpointing changes what is kept, and nothing that is computed."""

import copy
import pickle

import pytest
import torch
from outcomes import needs_gpu
from torch import nn

import mmadapt.memory.checkpointing as module_under_test
from mmadapt import inject, remove
from mmadapt.adapters import AdapterLayer
from mmadapt.memory.checkpointing import Recomputed, is_recomputed, keep_activations, recompute

NAMES = [['backbone'], ['backbone', 'neck'], ['neck'], ['backbone.1', 'head'], ['backbone.1.0']]


class Model(nn.Module):
    def __init__(self, momentum=0.1, dropout=0.0):
        super().__init__()
        torch.manual_seed(0)
        norm = nn.BatchNorm2d(4, momentum=momentum)
        block = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), norm, nn.ReLU(), nn.Dropout(dropout))
        # The block runs twice, so that its norm sees two batches in one step.
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), block, block)
        self.neck = nn.Sequential(
            nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, momentum=momentum), nn.GELU(), nn.Dropout(dropout)
        )
        self.head = nn.Sequential(nn.BatchNorm2d(4, momentum=momentum), nn.Conv2d(4, 2, 1))

    def forward(self, x):
        return self.head(self.neck(self.backbone(x)))


IMAGES = torch.randn(2, 4, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def recompute_all(model, names):
    for name in names:
        recompute(model.get_submodule(name))
    return model


def step(model, times=2, backwards=1):
    """Return losses, gradients and buffers of some steps on images that need no gradient."""
    torch.manual_seed(2)
    losses = {}
    for i in range(times):
        loss = model.train()(IMAGES[i % 2]).square().sum()
        for _ in range(backwards):
            loss.backward(retain_graph=True)
        losses[i] = loss.detach()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return losses, gradients, dict(model.named_buffers())


@pytest.mark.parametrize('names', NAMES)
@pytest.mark.parametrize('momentum', [0.1, None])
@pytest.mark.parametrize('dropout', [0.0, 0.4])
def test_losses_gradients_and_norm_statistics_are_bit_identical(
    names, momentum, dropout, assert_identical
):
    wanted = step(Model(momentum, dropout))
    model = recompute_all(Model(momentum, dropout), names)
    assert_identical(step(model), wanted)
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        assert norm.momentum == momentum


@pytest.mark.parametrize('momentum', [0.1, None])
def test_mmcvs_synchronized_norm_is_none_of_torchs_and_updated_once_too(
    momentum, monkeypatch, assert_identical
):
    sync_bn = pytest.importorskip('mmcv.ops.sync_bn')

    class OnCPU:
        """Takes the place of its kernels, which run on GPUs only."""

        @staticmethod
        def apply(x, mean, variance, weight, bias, momentum, eps, *_):
            return nn.functional.batch_norm(x, mean, variance, weight, bias, True, momentum, eps)

    monkeypatch.setattr(sync_bn, 'SyncBatchNormFunction', OnCPU)
    monkeypatch.setattr(sync_bn.dist, 'get_world_size', lambda group: 1)
    results = []
    for names in ([], ['backbone', 'neck']):
        model = Model(momentum)
        for owner, place in ((model.backbone[1], 1), (model.neck, 1)):
            owner[place] = sync_bn.SyncBatchNorm(4, momentum=momentum, group='all')
        results.append(step(recompute_all(model, names)))
    assert results[0][2]['neck.1.num_batches_tracked'] == 2
    assert_identical(results[1], results[0])
    assert model.neck[1].momentum == momentum


def test_a_second_backward_pass_through_the_same_graph_recomputes_once_more(assert_identical):
    model = recompute_all(Model(dropout=0.4), ['backbone', 'neck'])
    assert_identical(step(model, backwards=2), step(Model(dropout=0.4), backwards=2))


@pytest.mark.parametrize('peft', [dict(), dict(norm='stats', head='adapt')])
@pytest.mark.parametrize('dropout', [0.0, 0.3])
def test_adapters_of_a_backbone_that_sees_only_images_train_as_without(
    peft, dropout, assert_identical
):
    models = []
    for names in ([], ['backbone', 'neck']):
        model = Model(dropout=dropout)
        inject(model, dict(method=dict(type='LoRA', r=2, dropout=dropout), **peft))
        torch.manual_seed(3)
        for layer in model.modules():
            if isinstance(layer, AdapterLayer):
                nn.init.normal_(layer.lora_B)
        models.append(recompute_all(model, names))
    wanted, ours = step(models[0]), step(models[1])
    assert_identical(ours, wanted)
    adapters = [key for key in ours[1] if key.startswith('backbone.') and 'lora_' in key]
    assert len(adapters) == 4  # two convs, one of them run twice
    assert all(ours[1][key].abs().max() > 0 for key in adapters)


def test_an_adapted_layer_itself_is_recomputed_with_the_adapter_that_it_has_at_that_time():
    model = Model().eval()
    recompute(model.neck[0])  # before it is adapted
    plain = model(IMAGES[0])
    inject(model, dict(method=dict(type='LoRA', r=2)))
    nn.init.normal_(model.neck[0].lora_B)
    recompute(model.backbone[0])  # after
    nn.init.normal_(model.backbone[0].lora_B)
    adapted = model(IMAGES[0])
    assert not torch.equal(adapted, plain)
    adapted.sum().backward()
    for layer in (model.neck[0], model.backbone[0]):
        assert layer.lora_A.grad.abs().max() > 0
    remove(model)
    assert torch.equal(model(IMAGES[0]), plain)


@pytest.mark.parametrize('names', [['backbone', 'neck'], ['backbone', 'neck', 'backbone.1']])
def test_fewer_bytes_are_kept_for_the_backward_pass(names, saved_bytes):
    plain, model = Model().train(), recompute_all(Model().train(), names)
    kept, loss = saved_bytes(model, lambda: model(IMAGES[0]).square().sum())
    assert loss.requires_grad
    assert kept < 0.5 * saved_bytes(plain, lambda: plain(IMAGES[0]).square().sum())[0]


def test_keys_modules_and_evaluation_stay_what_they_were(monkeypatch):
    plain, model = Model().eval(), recompute_all(Model().eval(), ['backbone', 'neck'])
    assert list(model.state_dict()) == list(plain.state_dict())
    assert [n for n, _ in model.named_parameters()] == [n for n, _ in plain.named_parameters()]
    assert [type(m) for m in model.modules()] == [type(m) for m in plain.modules()]
    monkeypatch.setattr(module_under_test, 'checkpoint', None)  # is not called
    with torch.no_grad():
        assert torch.equal(model(IMAGES[0]), plain(IMAGES[0]))


@pytest.mark.parametrize('clone', [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_is_recomputed_by_itself(clone, assert_identical):
    model = recompute_all(Model(), ['backbone'])
    other = clone(model)
    assert is_recomputed(other.backbone)
    assert other.backbone.forward.module is other.backbone
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert_identical(step(other), step(Model()))
    assert all(p.grad is None for p in model.parameters())


def test_an_exception_in_the_backward_pass_leaves_the_momentum_as_it_was():
    model = recompute_all(Model(), ['neck'])
    loss = model.train()(IMAGES[0]).sum()

    def fail(*_):
        raise RuntimeError('interrupted')

    model.neck[2].forward = fail
    with pytest.raises(RuntimeError, match='interrupted'):
        loss.backward()
    assert model.neck[1].momentum == 0.1


def test_twice_is_once_and_undone_is_the_stock_module(assert_identical):
    model, calls = recompute_all(Model(), ['neck', 'neck']), []
    handle = model.neck[0].register_forward_hook(lambda *_: calls.append(1))
    assert_identical(step(model, times=1), step(Model(), times=1))
    assert len(calls) == 2
    handle.remove()
    keep_activations(model.neck)
    keep_activations(model.head)
    assert not any('forward' in vars(m) for m in model.modules())


def test_what_stood_in_place_of_the_forward_before_is_called_and_comes_back():
    model, calls = Model(), []
    stock = model.neck.forward

    def counted(x):
        calls.append(1)
        return stock(x)

    model.neck.forward = counted
    recompute(model.neck)
    model(IMAGES[0]).sum().backward()
    assert len(calls) == 2
    keep_activations(model.neck)
    assert model.neck.forward is counted


class Fusion(nn.Module):
    """Takes and writes into lists and dicts, as layers of language and vision models do."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))

    def forward(self, maps, *, state):
        state['seen'] = state['seen'] + 1
        fused = [nn.functional.dropout(m * self.weight * state['text'], 0.3) for m in maps]
        state['text'] = state['text'] * fused[0].mean()
        maps.append(fused[-1])
        return dict(maps=fused, state=state)


def test_arguments_of_any_form_are_the_callers_own_and_are_recomputed_from_as_they_were():
    results = []
    for recomputed in (False, True):
        fusion = Fusion()
        if recomputed:
            recompute(fusion)
        text = torch.arange(1.0, 4).requires_grad_()
        maps, state = [torch.ones(2, 3), torch.full((1, 3), 2.0)], dict(text=text, seen=0)
        torch.manual_seed(0)
        out = fusion(maps, state=state)
        assert out['state'] is state
        assert state['seen'] == 1
        assert len(maps) == 3
        loss = sum(m.square().sum() for m in out['maps']) + state['text'].sum()
        loss.backward()
        assert state['seen'] == 1
        results.append((loss.detach(), text.grad, fusion.weight.grad))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_torch_sees_tensors_that_are_given_by_name_or_inside_of_others(monkeypatch):
    # It keeps the random state of the devices that it finds among positional arguments only.
    seen = []
    real = module_under_test.checkpoint

    def spy(function, *args, **kwargs):
        seen.extend(a for a in args if isinstance(a, torch.Tensor))
        return real(function, *args, **kwargs)

    monkeypatch.setattr(module_under_test, 'checkpoint', spy)
    fusion = Fusion()
    recompute(fusion)
    text = torch.ones(3)
    maps = [torch.ones(2, 3)]
    fusion([*maps], state=dict(text=text, seen=0))
    assert [id(t) for t in seen] == [id(maps[0]), id(text)]


@needs_gpu
def test_dropout_of_a_layer_that_is_called_by_name_is_reproduced_on_a_gpu():
    layer = nn.Sequential(nn.Linear(64, 64), nn.Dropout(0.5)).cuda()
    x = torch.randn(8, 64, device='cuda')
    gradients = []
    for recomputed in (False, True):
        if recomputed:
            recompute(layer)
        torch.manual_seed(0)
        layer(input=x).square().sum().backward()
        torch.randn(1, device='cuda')
        gradients.append(layer[0].weight.grad.clone())
        layer.zero_grad()
    assert torch.equal(*gradients)


def test_autocast_is_as_it_was_when_a_block_is_recomputed(assert_identical):
    seen, results = [], []
    for names in ([], ['backbone', 'neck']):
        model = recompute_all(Model(dropout=0.3).train(), names)
        model.neck[2].register_forward_hook(lambda m, args, out: seen.append(out.dtype))
        torch.manual_seed(2)
        with torch.autocast('cpu', torch.bfloat16):
            loss = model(IMAGES[0]).float().square().sum()
        loss.backward()  # outside
        results.append(({0: loss.detach()}, {n: p.grad for n, p in model.named_parameters()}))
    assert seen == [torch.bfloat16] * 3
    assert_identical(results[1], results[0])


@pytest.mark.parametrize('offload', [False, True])
def test_a_compiled_model_updates_its_statistics_once(offload):
    torch.compiler.reset()
    results = []
    for recomputed in (False, True):
        model = Model().train()
        for name in ['backbone', 'neck'] if recomputed else []:
            recompute(model.get_submodule(name), offload)
        # An offloaded block is not compiled; without that nothing breaks the graph.
        compiled = torch.compile(model, backend='aot_eager', fullgraph=not offload)
        compiled(IMAGES[0]).square().sum().backward()
        results.append(
            {**{n: p.grad for n, p in model.named_parameters()}, **dict(model.named_buffers())}
        )
    assert results[0].keys() == results[1].keys()
    for key, value in results[0].items():
        torch.testing.assert_close(results[1][key], value, msg=key)


def test_nothing_but_its_forward_is_put_into_a_module():
    model = Model()
    before = {name: set(vars(m)) for name, m in model.named_modules()}
    recompute(model.neck)
    assert isinstance(vars(model.neck).pop('forward'), Recomputed)
    assert {name: set(vars(m)) for name, m in model.named_modules()} == before
