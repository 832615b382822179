"""Recomputation that models ask for by other means than ``with_cp``."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from mmadapt import inject
from mmadapt.memory import MemoryConfig, apply_memory
from mmadapt.memory.checkpointing import is_recomputed
from mmadapt.memory.inherited import asks_for_recomputation


class Stage(nn.Module):
    """A stage that recomputes its blocks as those of MixMIM, TinyViT and RepLKNet do."""

    def __init__(self, use_checkpoint):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(4, 4), nn.Tanh()) for _ in range(2))
        self.use_checkpoint = use_checkpoint

    def forward(self, x):
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=True) if self.use_checkpoint else block(x)
        return x


def build(use_checkpoint):
    torch.manual_seed(0)
    model = nn.ModuleDict(dict(backbone=Stage(use_checkpoint), bbox_head=nn.Linear(4, 2)))
    inject(model, dict(method=dict(type='LoRA', r=2, init='orthogonal')))
    return model


def gradients(model):
    model['bbox_head'](model['backbone'](torch.ones(3, 4))).square().sum().backward()
    return {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.filterwarnings('ignore:None of the inputs')
def test_use_checkpoint_is_taken_over_so_that_adapters_behind_an_image_train():
    wanted, model = gradients(build(False)), build(True)
    assert asks_for_recomputation(model)
    assert apply_memory(model, MemoryConfig()) == [
        'memory: recomputed in the backward pass: 1 Stage',
        'memory: use_checkpoint is taken over, for 1 Stage',
    ]
    assert is_recomputed(model['backbone'])
    found = gradients(model)
    assert sum('lora' in name for name in found) == 4
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
