"""The inputs of recomputed blocks on the CPU.

Without an accelerator there is nothing to move. That a tensor is on one is therefore pretended
here: it is copied and brought back all the same.
"""

import pytest
import torch
from outcomes import needs_gpu
from torch import nn

import mmadapt.memory.offload as module_under_test
from mmadapt.memory.checkpointing import recompute


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.dropout = nn.Dropout(0.3)

    def forward(self, query, memory):
        return query + self.dropout(torch.tanh(self.linear(query * memory)))


def build(count=3):
    torch.manual_seed(0)
    return nn.ModuleList(Layer() for _ in range(count))


def step(layers, device='cpu'):
    torch.manual_seed(1)
    query = torch.randn(4, 8).to(device)
    memory = torch.randn(4, 8).to(device).t().contiguous().t().requires_grad_()
    for layer in layers:
        query = layer(query, memory=memory)
    query.square().sum().backward()
    return memory.grad, [p.grad for p in layers.parameters()]


def assert_equal(ours, wanted):
    assert torch.equal(ours[0], wanted[0])
    assert all(torch.equal(a, b) for a, b in zip(ours[1], wanted[1], strict=True))


@pytest.fixture
def copies(monkeypatch):
    """Tensors that are copied to the CPU, everything being taken for an accelerator's."""
    made = []
    real = module_under_test._to_cpu

    def spy(tensor):
        kept = real(tensor)
        made.append(kept[1])
        return kept

    monkeypatch.setattr(module_under_test, 'is_elsewhere', lambda tensor: True)
    monkeypatch.setattr(module_under_test, '_to_cpu', spy)
    return made


def test_gradients_are_bit_identical_and_an_input_of_several_blocks_is_copied_once(copies):
    layers = build()
    for layer in layers:
        recompute(layer, offload=True)
    assert_equal(step(layers), step(build()))
    tensors = [t for t in copies if t.numel()]
    assert len(tensors) == 6  # two inputs of three layers
    assert len({t.data_ptr() for t in tensors}) == 4  # and one of them is the same in all
    assert {t.stride() for t in tensors} == {(8, 1), (1, 4)}, 'other strides, other kernels'


def test_a_copy_is_not_taken_for_one_of_a_tensor_that_was_written_into(copies):
    layer = build(1)[0]
    recompute(layer, offload=True)
    memory, query = torch.ones(4, 8), torch.ones(4, 8)
    first = layer(query, memory=memory)
    memory.mul_(3)
    second = layer(query, memory=memory)
    (first + second).sum().backward()
    assert sorted(t.sum().item() for t in copies if t.numel()) == [32, 32, 32, 96]


def test_copies_are_dropped_with_the_graph(copies):
    layer, memory = build(1)[0], torch.ones(4, 8)
    recompute(layer, offload=True)
    layer(torch.ones(4, 8), memory=memory)
    copies.clear()
    assert module_under_test._COPIES[memory][1]() is None


def test_what_is_computed_on_a_cpu_is_not_copied(monkeypatch):
    monkeypatch.setattr(module_under_test, '_to_cpu', None)
    layers = build()
    for layer in layers:
        recompute(layer, offload=True)
    assert_equal(step(layers), step(build()))


@needs_gpu
def test_inputs_leave_the_gpu_and_gradients_are_bit_identical():
    layers = build().cuda()
    wanted = step(layers, 'cuda')
    layers.zero_grad()
    for layer in layers:
        recompute(layer, offload=True)
    assert_equal(step(layers, 'cuda'), wanted)
    blocks = nn.ModuleList(nn.Sequential(nn.Linear(1024, 1024)) for _ in range(8)).cuda()
    kept = []
    for offload in (False, True):
        for block in blocks:
            recompute(block, offload)
        x = torch.randn(4096, 1024, device='cuda', requires_grad=True)
        before = torch.cuda.memory_allocated()
        for block in blocks:
            x = block(x)
        kept.append(torch.cuda.memory_allocated() - before)
        x.sum().backward()
    assert kept[1] < 0.3 * kept[0]
