"""Stock models compute, bit by bit, what they compute when everything is kept."""

import copy

import pytest
import torch
from adapting import METHODS, adapt
from made_again import Truth, both
from mmcv.cnn.bricks import DropPath
from model_zoo import DETECTORS, inputs
from torch import nn

from mmadapt import inject
from mmadapt.memory import AUTO
from mmadapt.memory.islands import keep_float32
from mmadapt.memory.rematerialize import LEVELS

FAMILIES = [
    'RTMDet',
    'YOLOX',
    'FCOS',
    'Faster R-CNN',
    'Mask R-CNN',
    'Mask R-CNN, Swin',
    'weight standardization',
    'DETR',
    'Deformable DETR',
    'DINO',
    'Mask2Former',
]
# Bytes that are kept, of those that are kept without it; at the size of the zoo.
SHARES = {'RTMDet': 0.6, 'YOLOX': 0.6, 'Mask R-CNN, Swin': 0.95}


@pytest.fixture
def truth(monkeypatch):
    """Compare all that is made again with what was saved."""
    return Truth(monkeypatch)


@pytest.fixture(scope='module')
def stock():
    """Return a function that returns a stock model of the zoo; each is built once."""
    built = {}

    def build(name):
        if name not in built:
            built[name] = DETECTORS[name].build()
        return copy.deepcopy(built[name])

    return build


def loss_of(name):
    def loss(model):
        images, samples = inputs(DETECTORS[name].masks)
        return model.parse_losses(model(images, samples, mode='loss'))[0]

    return loss


@pytest.mark.parametrize('name', FAMILIES)
def test_a_step_with_lora(name, stock, truth):
    model = adapt(stock(name), 'LoRA').train()
    plain, made = both(model, loss=loss_of(name))
    assert made.saved < SHARES.get(name, 1.0) * plain.saved
    assert truth.made > 20


@pytest.mark.parametrize('method', [m for m in METHODS if m != 'LoRA'])
@pytest.mark.parametrize('name', ['RTMDet', 'Faster R-CNN', 'Mask R-CNN, Swin'])
def test_a_step_with_other_methods(name, method, stock, truth):
    plain, made = both(adapt(stock(name), method).train(), loss=loss_of(name))
    assert made.saved < plain.saved
    assert truth.made > 20


@pytest.mark.parametrize('name', ['RTMDet', 'Mask R-CNN, Swin', 'Deformable DETR'])
def test_a_step_that_trains_all(name, stock, truth):
    both(stock(name).train(), loss=loss_of(name))
    assert truth.made > 20


@pytest.mark.parametrize('name', ['Mask R-CNN, Swin', 'DETR'])
def test_dropout_and_stochastic_depth(name, stock, truth):
    model = stock(name)
    for module in model.modules():
        if isinstance(module, DropPath):
            module.drop_prob = 0.3
        elif isinstance(module, nn.Dropout):
            module.p = 0.2
    inject(model, dict(method=dict(type='LoRA', r=4, dropout=0.1), allow_random_base=True))
    both(model.train(), loss=loss_of(name))
    assert truth.made > 20


@pytest.mark.parametrize('name', ['Faster R-CNN', 'Mask R-CNN, Swin', 'DINO'])
def test_all_levels(name, stock, truth):
    model = adapt(stock(name), 'LoRA').train()
    _, cheap = both(model, loss=loss_of(name))
    levels = [level for level in LEVELS if level != 'roi' or 'R-CNN' in name]
    _, further = both(model, levels=levels, loss=loss_of(name))
    assert further.saved < cheap.saved
    assert truth.made > 40


@pytest.mark.parametrize('name', ['RTMDet', 'Mask R-CNN, Swin', 'DINO'])
def test_under_bfloat16(name, stock, truth):
    model = adapt(stock(name), 'LoRA').train()
    keep_float32(model, AUTO)
    plain, made = both(model, loss=loss_of(name), amp=True)
    assert made.saved < 0.9 * plain.saved
    assert truth.made > 20


def test_two_passes_before_one_step(stock, truth):
    def loss(model):
        return loss_of('RTMDet')(model) + loss_of('RTMDet')(model)

    both(adapt(stock('RTMDet'), 'LoRA').train(), loss=loss)
    assert truth.made > 40


def test_a_model_that_is_in_evaluation_mode_and_records_gradients(stock):
    model = adapt(stock('RTMDet'), 'LoRA').eval()

    def loss(model):
        images, samples = inputs()
        return sum(t.square().mean() for maps in model(images, samples) for t in maps)

    both(model, loss=loss)
    with torch.inference_mode():
        loss(model)


@pytest.mark.parametrize('name', ['RTMDet', 'Mask R-CNN, Swin'])
def test_what_a_maps_to_is_made_again_with_the_same_mask(name, stock, truth):
    model = stock(name)
    inject(model, dict(method=dict(type='LoRA', r=16, dropout=0.1), allow_random_base=True))
    _, cheap = both(model.train(), loss=loss_of(name))
    _, further = both(model, levels=['low_rank'], loss=loss_of(name))
    assert further.saved < cheap.saved
    assert truth.made > 40
