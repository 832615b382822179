"""No training step of an adapted model waits for its device to read a value of it."""

import copy
from collections import Counter

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from mmadapt import inject
from mmadapt.folding import scales
from mmadapt.folding.scales import SMALLEST_SCALE, LateAnswer, far_from_zero, has_passed_backward

RTMDET = 'rtmdet/rtmdet_tiny_8xb32-300e_coco.py'
SWIN = 'swin/retinanet_swin-t-p4-w7_fpn_1x_coco.py'
# What brings a value, or a size that follows from values, to the CPU.
READING = {'_local_scalar_dense', 'nonzero', 'is_nonzero', 'masked_select', '_unique2', 'equal'}
LORA = dict(type='LoRA', r=4)
PEFT = {
    'LoRA': dict(method=LORA),
    'dropout': dict(method=dict(LORA, dropout=0.1)),
    'DoRA': dict(method=dict(LORA, type='DoRA')),
    'SSF': dict(method=dict(type='SSF')),
    'SSF apart': dict(method=dict(type='SSF'), fold_norm=False),
    'trained norms': dict(method=LORA, norm='affine'),
    'moving norms': dict(method=dict(type='SSF'), norm='stats'),
}


class Reads(TorchDispatchMode):
    """Counts what would wait for a device."""

    def __init__(self):
        super().__init__()
        self.count = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.__name__.split('.')[0]
        self.count[name] += name in READING
        return func(*args, **kwargs or {})


def reads_of_a_step(model):
    with Reads() as reads:
        sum(t.mean() for t in model.train().extract_feat(torch.randn(1, 3, 64, 64))).backward()
    return +reads.count


# Swin has no statistics.
@pytest.mark.parametrize(
    ('kind', 'name'),
    [
        (kind, name)
        for kind in PEFT
        for name in (RTMDET, SWIN)
        if (kind, name) != ('moving norms', SWIN)
    ],
)
def test_a_step_reads_no_value_back(kind, name, build_detector, monkeypatch):
    monkeypatch.setattr(scales, '_is_waited_for', lambda scale: True)
    monkeypatch.setattr(scales, '_Question', Yes)
    model = build_detector(name)
    inject(model, dict(PEFT[kind], head='adapt'))
    assert reads_of_a_step(model) == {}


class Yes:
    """Stands for a GPU whose answers have arrived."""

    def __init__(self, scale):
        pass

    def is_answered(self):
        return True

    def answer(self):
        return True


def test_such_a_read_would_be_counted(build_detector):
    model = build_detector()
    model.register_forward_pre_hook(lambda *_: None)
    model.backbone.register_forward_hook(lambda module, args, maps: maps[0].sum().item() and None)
    assert reads_of_a_step(model) == {'_local_scalar_dense': 1}


class Device:
    """Stands for a GPU: what is asked of it has an answer only when it has come so far."""

    def __init__(self, monkeypatch):
        self.waits, self.is_done = 0, False
        device = self

        class Question:
            def __init__(self, scale):
                self.value = bool((scale.abs() > SMALLEST_SCALE).all())

            def is_answered(self):
                return device.is_done

            def answer(self):
                device.waits += not device.is_done
                return self.value

        monkeypatch.setattr(scales, '_Question', Question)
        monkeypatch.setattr(scales, '_is_waited_for', lambda scale: True)


@pytest.fixture
def device(monkeypatch):
    return Device(monkeypatch)


class Norm(nn.Module):
    def __init__(self):
        super().__init__()
        self.ssf_scale = nn.Parameter(torch.ones(4))


def set_scale(norm, value):
    with torch.no_grad():
        norm.ssf_scale[1] = value


def test_only_the_first_step_waits_and_the_answer_is_one_step_late(device):
    norm = Norm()
    assert far_from_zero(norm)
    assert device.waits == 1
    has_passed_backward(norm)
    set_scale(norm, 0.0)
    device.is_done = False
    assert far_from_zero(norm), 'of the step before'
    assert device.waits == 1
    has_passed_backward(norm)
    device.is_done = True
    assert not far_from_zero(norm)


def test_an_answer_that_has_not_arrived_is_not_waited_for(device):
    norm = Norm()
    far_from_zero(norm)
    set_scale(norm, 0.0)
    for _ in range(3):
        has_passed_backward(norm)
        assert far_from_zero(norm)
    assert device.waits == 1


def test_what_is_near_zero_is_asked_each_time_and_comes_back(device):
    norm, device.is_done = Norm(), True
    set_scale(norm, 0.0)
    assert not far_from_zero(norm)
    set_scale(norm, 1.0)
    assert far_from_zero(norm)


def test_within_a_step_and_its_backward_the_answer_is_the_same(device):
    norm, device.is_done = Norm(), True
    far_from_zero(norm)
    has_passed_backward(norm)
    answers = []

    def run(x):
        answers.append(far_from_zero(norm))
        return x * norm.ssf_scale

    far_from_zero(norm)  # another call of the step: its question is under way
    set_scale(norm, 0.0)
    checkpoint(run, torch.ones(4, requires_grad=True), use_reentrant=False).sum().backward()
    assert answers == [True, True]
    for is_far in (True, False):  # the question asked before the scale has changed, and the next
        has_passed_backward(norm)
        assert far_from_zero(norm) is is_far


def test_a_scale_of_zero_that_is_found_late_gives_no_infinite_gradient(device, build_detector):
    model = build_detector()
    inject(model, PEFT['SSF'])
    first = reads_of_a_step(model)
    norm = model.backbone.stem[0].norm
    with torch.no_grad():
        norm.ssf_scale[0] = 0.0
        norm.ssf_shift[0] = 0.3
    model.zero_grad()
    waits = device.waits
    reads_of_a_step(model)
    assert device.waits == waits
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    assert norm.ssf_scale.grad[0] == 0
    assert (norm.ssf_scale.grad[1:] != 0).any()
    assert first, 'the questions of this device are answered by reading'


def test_a_model_that_was_asked_is_copied(device, build_detector):
    model = build_detector()
    inject(model, PEFT['SSF'])
    reads_of_a_step(model)
    reads_of_a_step(copy.deepcopy(model))
    assert isinstance(scales._ANSWERS[model.backbone.stem[0].norm], LateAnswer)
