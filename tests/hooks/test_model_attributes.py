"""What a model keeps outside its state dict: found, held by a file, and put back."""

import random
from collections import OrderedDict, deque
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from mmadapt.hooks import model_attributes
from mmadapt.hooks.model_attributes import ModelAttributes, set_attributes


class Assigner:
    """No module, as MMDetection's task modules are."""

    def __init__(self):
        self.threshold = 0.5
        self.inner = dict(rule=SimpleNamespace(count=0))


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.register_buffer('kept', torch.zeros(2), persistent=False)
        self.size, self.rate, self.flag, self.note = None, 0.1, False, 'a'
        self.history, self.recent, self.names = [], deque(maxlen=3), {'x'}
        self.counts = OrderedDict(a=[0, 0])
        self.queue, self.array = torch.zeros(3), np.zeros(2)
        self.assigners = [Assigner(), Assigner()]
        self.shared = self.history


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = Head()
        self.cache = self.head.counts

    def step(self, n):
        head = self.head
        head.kept += n
        head.size, head.rate, head.flag, head.note = (n, 2 * n), n / 3, True, f'{n}'
        head.history.append(np.float64(n) / 7)
        head.recent.append(n)
        head.names.add(n)
        head.counts['a'][1] += n
        head.queue = torch.cat([head.queue[1:], torch.tensor([n / 3])])
        head.array[0] += n
        head.late = {1: torch.arange(n)}
        head.assigners[1].threshold = np.float64(n)
        head.assigners[0].inner['rule'].count += n
        head.output = head.layer(torch.ones(2))  # has a graph
        head.generator = random.Random()


def fresh():
    torch.manual_seed(0)
    return Model()


def by_file(changed, path):
    torch.save(changed, path)
    return torch.load(path, weights_only=True)


def read(model):
    return {
        path: value
        for path, value in model_attributes._read(model, set(), fresh=True)
        if path[1] not in ('output', 'generator')
    }


def test_what_a_training_changes_is_put_back_as_it_was(tmp_path):
    model, other = fresh(), fresh()
    attributes = ModelAttributes(model)
    assert attributes.changed() == ([], [])
    for n in range(1, 6):
        model.step(n)
    changed, too_large = attributes.changed()
    names = {'.'.join(map(str, path)) for path, _ in changed}
    assert {
        'head.size',
        'head.kept',
        'head.assigners.1.threshold',
        'head.assigners.0.inner.rule.count',
        'head.late',
    } <= names
    assert not {'head.layer', 'head.output', 'head.generator', 'head.shared'} & names
    assert too_large == []

    tensor = other.head.kept
    assert set_attributes(other, by_file(changed, tmp_path / 'state.pth')) == []
    one, two = read(model), read(other)
    assert one.keys() == two.keys()
    assert all(model_attributes._is_same(value, two[path]) for path, value in one.items())
    assert other.head.recent == deque([3, 4, 5], maxlen=3)
    assert isinstance(other.head.history[0], np.float64)
    # What stood under two names still does.
    assert other.head.shared is other.head.history
    assert other.cache is other.head.counts
    assert other.head.kept is tensor


def test_values_without_a_place_are_named(tmp_path):
    model = fresh()
    attributes = ModelAttributes(model)
    model.step(1)
    other = Model()
    other.head.assigners = []
    found = set_attributes(other, by_file(attributes.changed()[0], tmp_path / 'state.pth'))
    assert found == ['head.assigners.0.inner.rule.count', 'head.assigners.1.threshold']


def test_what_is_too_large_for_every_checkpoint_is_named_instead():
    model = fresh()
    attributes = ModelAttributes(model)
    model.head.maps = torch.zeros(5, 2**20)
    assert attributes.changed() == ([], ['head.maps'])


@pytest.mark.parametrize('value', [float('nan'), torch.tensor(2), np.int64(3)])
def test_an_equal_value_is_no_change(value):
    model = nn.Module()
    model.value = value
    attributes = ModelAttributes(model)
    model.value = type(value)(value) if not isinstance(value, torch.Tensor) else value.clone()
    assert attributes.changed() == ([], [])


def test_a_path_of_a_file_leads_to_nothing_but_the_model():
    model, torch_is = Model(), torch.__version__
    model.head.kind, model.head.rule, model.head.package = Assigner, model.step, torch
    paths = [
        ('', '__class__', 'harm'),
        ('head', '__init__', '__globals__', 'harm'),
        ('head', 'kind', 'harm'),
        ('head', 'rule', '__func__', 'harm'),
        ('', '__dict__'),
        ('head', 'package', '__version__'),
    ]
    assert len(set_attributes(model, [(path, 'x') for path in paths])) == len(paths)
    assert not hasattr(Model, 'harm')
    assert not hasattr(Assigner, 'harm')
    assert 'harm' not in globals()
    assert torch.__version__ == torch_is
