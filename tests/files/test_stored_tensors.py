"""Which tensors a file holds, and how a whole state dict comes of them."""

import copy

import pytest
import torch
from torch import nn

from mmadapt import UserError, inject
from mmadapt.files import canonical_keys, complete_state_dict, frozen_tensors, stored_keys

LORA = dict(type='LoRA', r=2)


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.branches = nn.ModuleList([nn.Conv2d(4, 4, 1)])
        self.branches.append(self.branches[0])
        self.register_buffer('anchors', torch.arange(3.0))
        self.bbox_head = nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))


ADAPTERS = {f'{layer}.lora_{x}' for layer in ('backbone.0', 'branches.0') for x in 'AB'}
HEAD = {
    f'bbox_head.0.{x}'
    for x in ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')
} | {'bbox_head.1.weight', 'bbox_head.1.bias'}
STATISTICS = {f'backbone.1.{x}' for x in ('running_mean', 'running_var', 'num_batches_tracked')}


@pytest.mark.parametrize(
    ('peft', 'wanted'),
    [
        (dict(), ADAPTERS | HEAD),
        (dict(head='freeze'), ADAPTERS),
        (dict(norm='stats'), ADAPTERS | HEAD | STATISTICS),
        (dict(norm='affine'), ADAPTERS | HEAD | {'backbone.1.weight', 'backbone.1.bias'}),
        (
            dict(norm='train'),
            ADAPTERS | HEAD | STATISTICS | {'backbone.1.weight', 'backbone.1.bias'},
        ),
        (dict(method=None), HEAD),
    ],
)
def test_a_file_holds_what_moves_and_nothing_else(peft, wanted):
    model = Detector()
    inject(model, {'method': LORA, **peft})
    assert stored_keys(model) == wanted


def test_what_no_base_provides_is_held_too():
    model = Detector()
    inject(model, dict(method=LORA))
    assert stored_keys(model, ['anchors', 'branches.1.weight']) == ADAPTERS | HEAD | {
        'anchors',
        'branches.0.weight',
    }


def test_a_tensor_of_several_names_goes_by_the_first():
    keys = canonical_keys(Detector())
    assert keys['branches.1.weight'] == keys['branches.0.weight'] == 'branches.0.weight'
    assert keys['backbone.1.bias'] == 'backbone.1.bias'


def test_stored_and_frozen_tensors_are_the_whole_model_each_once():
    model = Detector()
    inject(model, dict(method=LORA))
    stored = stored_keys(model)
    frozen = frozen_tensors(model, stored)
    assert not stored & set(frozen)
    assert stored | set(frozen) == set(canonical_keys(model).values())


def test_what_a_file_holds_and_its_base_make_the_whole_model_again():
    torch.manual_seed(0)
    base = Detector()
    model = copy.deepcopy(base)
    inject(model, dict(method=LORA, norm='stats'))
    stock_keys = base.state_dict()
    stored = {key: model.state_dict()[key] + 1 for key in stored_keys(model)}
    state = complete_state_dict(model, stored, stock_keys, 'file')
    assert list(state) == list(model.state_dict())
    for key, first in canonical_keys(model).items():
        wanted = stored[first] if first in stored else stock_keys[key]
        assert torch.equal(state[key], wanted), key
    assert state['branches.1.lora_A'] is state['branches.0.lora_A']
    model.load_state_dict(state, strict=True)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            lambda stored, base: stored.pop('backbone.0.lora_A'),
            'backbone.0.lora_A is neither in FILE nor in its base model',
        ),
        (
            lambda stored, base: base.pop('backbone.0.weight'),
            'backbone.0.weight is neither in FILE nor in its base model',
        ),
        (
            lambda stored, base: base.update({'backbone.0.weight': torch.zeros(1)}),
            'backbone.0.weight is neither in FILE nor',
        ),
        (
            lambda stored, base: stored.update({'backbone.0.lora_A': torch.zeros(3, 3, 3, 3)}),
            r'FILE holds backbone.0.lora_A of shape \(3, 3, 3, 3\), the model has \(2, 3, 3, 3\) there: '
            r'its config \(classes, rank\)',
        ),
        (
            lambda stored, base: stored.update({'neck.lora_A': torch.zeros(1)}),
            'FILE holds neck.lora_A and 0 more tensors that this model does not have',
        ),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    base = Detector()
    model = copy.deepcopy(base)
    inject(model, dict(method=LORA))
    stored = {key: model.state_dict()[key] for key in stored_keys(model)}
    weights = dict(base.state_dict())
    change(stored, weights)
    with pytest.raises(UserError, match=message):
        complete_state_dict(model, stored, weights, 'FILE')


def test_an_old_base_without_batch_counters_is_enough():
    base = Detector()
    model = copy.deepcopy(base)
    inject(model, dict(method=LORA, head='freeze'))
    stored = {key: model.state_dict()[key] for key in stored_keys(model)}
    old = {key: v for key, v in base.state_dict().items() if 'num_batches' not in key}
    assert complete_state_dict(model, stored, old, 'f')['backbone.1.num_batches_tracked'] == 0
