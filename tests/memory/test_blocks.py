"""Which blocks `memory.checkpoint` means."""

import pytest
from torch import nn

from mmadapt import UserError
from mmadapt.memory.blocks import find_blocks


class Block(nn.Sequential):
    pass


class WideBlock(Block):
    pass


class Heads(nn.ModuleDict):
    """Called by name only."""


class Model(nn.Module):
    def __init__(self):
        super().__init__()

        def blocks(count, kind=Block):
            return [kind(nn.Conv2d(3, 3, 1), nn.ReLU()) for _ in range(count)]

        self.stem = nn.Conv2d(3, 3, 1)
        self.stages = nn.ModuleList([nn.Sequential(*blocks(3)), nn.Sequential(*blocks(2))])
        self.encoder = nn.ModuleList(blocks(4, WideBlock))
        self.encoder.append(self.stages[0][0])  # stands in two places
        self.heads = Heads(dict(box=nn.Linear(3, 3), score=nn.Linear(3, 3)))
        self.spare = nn.ModuleList()


ALL = [f'stages.0.{i}' for i in range(3)] + [f'stages.1.{i}' for i in range(2)]
ENCODER = [f'encoder.{i}' for i in range(4)]


def names(patterns, every=1):
    model = Model()
    found = find_blocks(model, patterns, every)
    known = {module: name for name, module in model.named_modules()}
    return [known[module] for module in found]


@pytest.mark.parametrize(
    ('patterns', 'wanted'),
    [
        ([], []),
        (['Block'], ALL + ENCODER),
        (['WideBlock'], ENCODER),
        (['WideBlock', 'encoder.0'], ENCODER),
        (['stem'], ['stem']),
        ([r'stages\.\d\.0'], ['stages.0.0', 'stages.1.0']),
        (['encoder.3', 'stages.0.1'], ['stages.0.1', 'encoder.3']),
        # A list is never called: the modules in it are.
        (['stages'], ['stages.0', 'stages.1']),
        (['heads'], ['heads.box', 'heads.score']),
        (['ModuleList'], ['stages.0', 'stages.1', *ENCODER]),
    ],
)
def test_patterns_mean_blocks_in_the_order_of_the_model(patterns, wanted):
    assert names(patterns) == wanted


def test_a_block_within_a_block_is_recomputed_with_it():
    assert names(['Block', 'Conv2d', 'ReLU', 'stages.1']) == [
        'stem',
        *ALL[:3],
        'stages.1',
        *ENCODER,
    ]
    assert names([r'stages\..*', 'encoder.0']) == ['stages.0', 'stages.1', 'encoder.0']


@pytest.mark.parametrize(
    ('every', 'wanted'),
    [
        (2, ['stages.0.0', 'stages.0.2', 'stages.1.0', 'encoder.0', 'encoder.2']),
        (3, ['stages.0.0', 'stages.1.0', 'encoder.0', 'encoder.3']),
        (9, ['stages.0.0', 'stages.1.0', 'encoder.0']),
    ],
)
def test_every_nth_is_counted_within_each_list(every, wanted):
    assert names(['Block'], every) == wanted


def test_every_second_of_single_blocks_is_refused():
    with pytest.raises(UserError, match='memory.every=2 leaves out none'):
        names(['stem'], 2)
    assert names(['stem', 'Block'], 2)[0] == 'stem'


def test_the_projection_of_an_attention_is_read_and_never_called():
    model = nn.Sequential(nn.MultiheadAttention(4, 2))
    with pytest.raises(UserError, match=r"'out_proj' means \['0.out_proj'\], which are never"):
        find_blocks(model, ['out_proj'])
    assert find_blocks(model, ['MultiheadAttention']) == [model[0]]


@pytest.mark.parametrize(
    ('pattern', 'message'),
    [
        ('SwinBlok', "'SwinBlok' is neither a class nor a name .* nearest: '.*Block'"),
        ('encodr', "nearest: 'encoder'"),
        ('(', "'\\(' is neither"),
        ('Model', "memory.checkpoint: 'Model' means the whole model; name the blocks"),
        ('spare', "memory.checkpoint: 'spare' means \\['spare'\\], which are never"),
    ],
)
def test_a_name_that_means_no_block_is_answered_with_near_ones(pattern, message):
    with pytest.raises(UserError, match=message) as caught:
        find_blocks(Model(), ['Block', pattern])
    assert 'memory.checkpoint' in str(caught.value)
    assert '\n' not in str(caught.value)
