"""Weights that adapters make, of which what is made again is one call."""

import gc
import weakref

import pytest
import torch
from made_again import both
from torch import nn
from torch.nn import functional as F

from mmadapt import inject
from mmadapt.adapters import ADAPTERS, LoRA
from mmadapt.memory.rematerialize import Rematerialization


class Noisy(LoRA):
    """A method of somebody's own, which draws numbers where it makes a weight."""

    def adapt(self, weight, bias, tensors):
        """Return a weight of which half is dropped."""
        delta = tensors['lora_B'] @ F.dropout(tensors['lora_A'], 0.5)
        return weight + self.scale * delta, bias


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(64, 64), nn.Linear(64, 64)
        self.register_buffer('x', torch.randn(256, 64))

    def forward(self):
        return self.b(F.silu(self.a(self.x))).square().mean()


def adapted(method):
    torch.manual_seed(0)
    model = Model()
    inject(model, dict(method=method, targets='all-linear', allow_random_base=True))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if 'lora_B' in name:
                parameter.normal_(std=0.1)
    return model.train()


@pytest.fixture(autouse=True)
def _noisy():
    ADAPTERS.register_module(module=Noisy)
    yield
    ADAPTERS.module_dict.pop('Noisy')


@pytest.mark.parametrize(
    'method',
    [
        dict(type='Noisy', r=4, compute='merged'),
        dict(type='LoRA', r=4, compute='merged'),
        dict(type='LoRA', r=4, compute='merged', dropout=0.2, dropout_mode='channel'),
        dict(type='DoRA', r=4, compute='merged'),
        dict(type='DoRA', r=4, compute='merged', dropout=0.2, dropout_mode='channel'),
        dict(type='SSF'),
    ],
    ids=str,
)
def test_weights_are_made_again_as_they_were(method):
    plain, made = both(adapted(method))
    assert made.saved < plain.saved


def test_a_graph_that_is_dropped_drops_its_layers():
    def run(watched):
        model = adapted(dict(type='LoRA', r=4, compute='merged'))
        if watched:
            Rematerialization().attach(model)
        model.a.register_forward_hook(lambda m, args, output: setattr(m, 'last', output.sigmoid()))
        model()
        return weakref.ref(model.a)

    for watched in (False, True):
        layer = run(watched)
        gc.collect()
        assert layer() is None


def test_states_of_dropped_graphs_are_not_held():
    class Recurrent(Model):
        def forward(self):
            self.x = F.silu(self.a(self.x.detach()))
            return self.b(self.x).sum()

    model = Recurrent()
    Rematerialization().attach(model)
    states, losses = [], []
    for _ in range(4):
        losses.append(model())
        states.append(weakref.ref(model.x))
    losses.clear()
    gc.collect()
    assert [state() is not None for state in states] == [False, False, False, True]
