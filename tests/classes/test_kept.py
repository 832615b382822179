"""What is kept, what is left alone, and what is said of it."""

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import nn

from mmadapt.classes import find_kept, lines_of, names_in


@MODELS.register_module()
class UnknownHead(BaseModule):
    """A row for each class, two in an order of its own, and a count of the data."""

    def __init__(self, num_classes, channels=2, **_):
        super().__init__()
        self.fc = nn.Linear(channels, num_classes)
        self.pairs = nn.Linear(channels, 2 * num_classes)
        self.register_buffer('seen', torch.zeros(num_classes))
        self.drawn = torch.rand(1)


@MODELS.register_module()
class HeadOfThree(UnknownHead):
    def __init__(self, num_classes):
        if num_classes != 3:
            raise ValueError('three it must be')
        super().__init__(num_classes)


@MODELS.register_module()
class HeadThatSaysNothing(UnknownHead):
    def __init__(self, outputs):
        super().__init__(outputs)


def keep(here, there, kind='UnknownHead', key='num_classes', source=None):
    """Return the values of a model, what it keeps of ones, and what it starts from."""
    cfg = Config(dict(model=dict(type=kind, **{key: len(here)})))
    model = MODELS.build(cfg.model)
    stock = source or UnknownHead(len(there))
    source = {name: torch.ones_like(value) for name, value in stock.state_dict().items()}
    names = [names_in(dict(classes=names)) for names in (here, there)]
    kept = find_kept(model, cfg, *names, source, 'FILE')
    state = dict(source)
    if kept is not None:
        kept.fill(state, model.state_dict(), source)
    return model.state_dict(), kept, state


@pytest.mark.parametrize('there', [('b', 'a', 'c'), ('b', 'a', 'c', 'd')])
def test_an_order_that_is_not_known_is_not_guessed(there):
    """Also where all shapes are the same."""
    own, kept, state = keep(('a', 'x', 'b'), there)
    assert torch.equal(state['pairs.weight'], own['pairs.weight'])
    assert torch.equal(state['fc.weight'][[0, 2]], torch.ones(2, 2))
    assert torch.equal(state['fc.weight'][1], own['fc.weight'][1])
    first, table = lines_of(kept)
    assert first == '2 of 3 classes start from their rows in FILE: a, b; new: x'
    rows = [[cell.strip() for cell in line.split('│')[1:-1]] for line in table.splitlines()]
    assert ['fc', 'weight, bias', '2 of 3', ''] in rows
    unknown = 'in which order it has the classes is not known'
    assert ['pairs', '', 'none, random', unknown] in rows


def test_a_buffer_that_is_no_norm_s_stays_that_of_the_new_data():
    own, kept, state = keep(('a', 'x', 'b'), ('b', 'a', 'c'))
    assert torch.equal(state['seen'], own['seen'])
    assert "the data's own" in lines_of(kept)[-1]


def test_what_differs_in_other_respects_is_left_random():
    """The rest is kept all the same."""
    other = UnknownHead(3)
    other.fc = nn.Linear(5, 3)
    own, kept, state = keep(('b', 'x', 'a'), ('a', 'b', 'c'), source=other)
    assert torch.equal(state['fc.weight'], own['fc.weight'])
    assert torch.equal(state['fc.bias'][[0, 2]], torch.ones(2))
    assert kept.left['fc.weight'] == 'it has another shape for another reason'


def test_a_name_that_is_written_otherwise_is_said_and_not_taken():
    here = ('Traffic Light', 'dog', 'hot-dog')
    _, kept, state = keep(here, ('traffic_light', 'hot dog', 'cat'))
    assert lines_of(kept) == [
        f'{new!r} is new, FILE has {there!r}: write it as {there!r} to keep its rows'
        for new, there in (('Traffic Light', 'traffic_light'), ('hot-dog', 'hot dog'))
    ]
    assert torch.equal(state['fc.weight'], torch.ones(3, 2))  # nothing in common, nothing changes


def test_a_name_that_stands_there_twice_means_no_row():
    own, kept, state = keep(('b', 'a', 'c'), ('a', 'b', 'a'))
    assert torch.equal(state['fc.weight'][0], torch.ones(2))
    assert torch.equal(state['fc.weight'][1:], own['fc.weight'][1:])
    assert 'new: a, c' in lines_of(kept)[0]


@pytest.mark.parametrize('there', [('a', 'b'), ('x', 'y'), ('x', 'y', 'z')])
def test_with_the_same_names_or_none_of_them_nothing_is_built_or_said(there, monkeypatch):
    monkeypatch.setattr('mmadapt.classes.find.find_class_tensors', None)
    assert keep(('a', 'b'), there)[1] is None


@pytest.mark.parametrize(
    ('here', 'there', 'options', 'why'),
    [
        (
            ('a', 'x'),
            ('a', 'b', 'c'),
            dict(source=UnknownHead(2)),
            'it names 3 classes, but seen has the shape (2,) there, not (3,)',
        ),
        (
            ('a', 'x', 'y'),
            ('a', 'b'),
            dict(kind='HeadOfThree'),
            'the model cannot be built for one of the classes more, which would show what '
            'follows their number: three it must be',
        ),
        (
            ('a', 'x', 'y'),
            ('a', 'b'),
            dict(kind='HeadThatSaysNothing', key='outputs'),
            'nothing in the model config counts 3 classes, so that it is not known what follows '
            'their number',
        ),
    ],
)
def test_names_that_cannot_be_used_change_nothing_and_it_is_said(here, there, options, why):
    _, kept, state = keep(here, there, **options)
    (line,) = lines_of(kept)
    assert line.startswith(f'WARNING: no rows of FILE are kept: {why}')
    assert all(torch.equal(value, torch.ones_like(value)) for value in state.values())
    assert not kept.changed


def test_models_that_read_words_are_left_alone():
    cfg = Config(
        dict(model=dict(type='UnknownHead', num_classes=2, language_model=dict(type='BertModel')))
    )
    model = UnknownHead(2)
    source = UnknownHead(3).state_dict()
    names = [names_in(dict(classes=names)) for names in (('a', 'x'), ('a', 'b', 'c'))]
    assert find_kept(model, cfg, *names, source, 'FILE') is None


def test_random_numbers_are_drawn_as_if_nothing_had_been_looked_at():
    torch.manual_seed(0)
    expected = torch.rand(1)
    cfg = Config(dict(model=dict(type='UnknownHead', num_classes=2)))
    model, source = UnknownHead(2), UnknownHead(3).state_dict()
    names = [names_in(dict(classes=names)) for names in (('a', 'x'), ('a', 'b', 'c'))]
    torch.manual_seed(0)
    assert find_kept(model, cfg, *names, source, 'FILE').entries
    assert torch.rand(1) == expected
