"""Activation checkpointing changes what is kept, and nothing that is computed."""

import copy

import pytest
import torch
from torch import nn

from mmadapt import UserError, inject
from mmadapt.adapters import AdapterLayer
from mmadapt.memory import checkpoint_activations

NAMES = [['backbone'], ['backbone', 'neck'], 'neck', ['backbone.1', 'head'], ['backbone.1.0']]


class Model(nn.Module):

    def __init__(self, momentum=0.1, dropout=0.0):
        super().__init__()
        torch.manual_seed(0)
        norm = nn.BatchNorm2d(4, momentum=momentum)
        block = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), norm, nn.ReLU(), nn.Dropout(dropout))
        # The block runs twice, so that its norm sees two batches in one step.
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), block, block)
        self.neck = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, momentum=momentum),
                                  nn.GELU(), nn.Dropout(dropout))
        self.head = nn.Sequential(nn.BatchNorm2d(4, momentum=momentum), nn.Conv2d(4, 2, 1))

    def forward(self, x):
        return self.head(self.neck(self.backbone(x)))


IMAGES = torch.randn(2, 4, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def step(model, times=2):
    """Return losses, gradients and buffers of some steps on images that need no gradient."""
    torch.manual_seed(2)
    losses = []
    for i in range(times):
        loss = model.train()(IMAGES[i % 2]).square().sum()
        loss.backward()
        losses.append(loss.detach())
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return losses, gradients, dict(model.named_buffers())


def assert_identical(ours, wanted):
    for a, b in zip(ours[0], wanted[0], strict=True):
        assert torch.equal(a, b)
    for mine, theirs in zip(ours[1:], wanted[1:], strict=True):
        assert mine.keys() == theirs.keys()
        for key in mine:
            assert torch.equal(mine[key], theirs[key]), key


@pytest.mark.parametrize('names', NAMES)
@pytest.mark.parametrize('momentum', [0.1, None])
@pytest.mark.parametrize('dropout', [0.0, 0.4])
def test_losses_gradients_and_norm_statistics_are_bit_identical(names, momentum, dropout):
    wanted = step(Model(momentum, dropout))
    model = Model(momentum, dropout)
    checkpoint_activations(model, names)
    assert_identical(step(model), wanted)
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        assert norm.momentum == momentum


@pytest.mark.parametrize('peft', [dict(), dict(norm='stats', head='adapt')])
@pytest.mark.parametrize('dropout', [0.0, 0.3])
def test_adapters_of_a_backbone_that_sees_only_images_train_as_without(peft, dropout):
    models = []
    for names in ([], ['backbone', 'neck']):
        model = Model(dropout=dropout)
        inject(model, dict(method=dict(type='LoRA', r=2, dropout=dropout), **peft))
        torch.manual_seed(3)
        for layer in model.modules():
            if isinstance(layer, AdapterLayer):
                nn.init.normal_(layer.lora_B)
        checkpoint_activations(model, names)
        models.append(model)
    wanted, ours = step(models[0]), step(models[1])
    assert_identical(ours, wanted)
    adapters = [key for key in ours[1] if key.startswith('backbone.') and 'lora_' in key]
    assert len(adapters) == 4  # two convs, one of them run twice
    assert all(ours[1][key].abs().max() > 0 for key in adapters)


def saved_bytes(model):
    storages = {}
    kept = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in kept:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model.train()(IMAGES[0]).square().sum()
    assert loss.requires_grad
    return sum(storages.values())


def test_fewer_bytes_are_kept_for_the_backward_pass():
    plain, model = Model(), Model()
    checkpoint_activations(model, ['backbone', 'neck'])
    assert saved_bytes(model) < 0.5 * saved_bytes(plain)


def test_keys_modules_and_evaluation_stay_what_they_were():
    plain, model = Model().eval(), Model().eval()
    checkpoint_activations(model, ['backbone', 'neck'])
    assert list(model.state_dict()) == list(plain.state_dict())
    assert [type(m) for m in model.modules()] == [type(m) for m in plain.modules()]
    with torch.no_grad():
        assert torch.equal(model(IMAGES[0]), plain(IMAGES[0]))


def test_a_copy_is_checkpointed_by_itself():
    model = Model()
    checkpoint_activations(model, ['backbone'])
    clone = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert_identical(step(clone), step(Model()))
    assert all(p.grad is None for p in model.parameters())


def test_an_exception_in_the_backward_pass_leaves_the_momentum_as_it_was():
    model = Model()
    checkpoint_activations(model, ['neck'])
    loss = model.train()(IMAGES[0]).sum()

    def fail(*_):
        raise RuntimeError('interrupted')

    model.neck[2].forward = fail
    with pytest.raises(RuntimeError, match='interrupted'):
        loss.backward()
    assert model.neck[1].momentum == 0.1


def test_a_module_named_twice_is_recomputed_once():
    model, calls = Model(), []
    model.second = model.neck
    model.neck[0].register_forward_hook(lambda *_: calls.append(1))
    checkpoint_activations(model, ['neck', 'second', 'neck'])
    assert_identical(step(model, times=1), step(Model(), times=1))
    assert len(calls) == 2


@pytest.mark.parametrize('names', ['bakcbone', ['backbone', 'bakcbone']])
def test_a_module_that_does_not_exist_is_named_with_the_nearest_ones(names):
    model = Model()
    with pytest.raises(UserError, match="activation_checkpointing: there is no module 'bakcbone'; "
                                        "nearest: 'backbone', "):
        checkpoint_activations(model, names)
    assert 'forward' not in vars(model.backbone)
