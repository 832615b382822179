"""Which layers a selector means."""

import pytest
from torch import nn

from mmadapt import UserError
from mmadapt.peft.targets import module_names, select


class Block(nn.Module):
    def __init__(self, channels, groups=1):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, groups=groups)
        self.bn = nn.BatchNorm2d(channels)
        self.act = nn.ReLU()


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.ModuleDict(dict(stem=Block(4), stage1=Block(8), stage10=Block(16, 16)))
        self.neck = nn.ModuleList([Block(8), Block(8)])
        self.neck[1].conv = self.neck[0].conv
        self.fc = nn.Linear(16, 4)


@pytest.fixture
def model():
    return Model()


def names(model, *selectors):
    chosen = select(model, list(selectors), 'peft.targets')
    return sorted(name for name, module in model.named_modules() if module in chosen)


@pytest.mark.parametrize(
    ('selector', 'wanted'),
    [
        ('fc', ['fc']),
        ('backbone.stem.conv', ['backbone.stem.conv']),
        ('stem.conv', ['backbone.stem.conv']),
        ('stage1', ['backbone.stage1.bn', 'backbone.stage1.conv']),
        (
            'bn',
            [
                'backbone.stage1.bn',
                'backbone.stage10.bn',
                'backbone.stem.bn',
                'neck.0.bn',
                'neck.1.bn',
            ],
        ),
        ('neck', ['neck.0.bn', 'neck.0.conv', 'neck.1.bn']),
        (r'backbone\.stage\d+\.conv', ['backbone.stage1.conv', 'backbone.stage10.conv']),
        (
            r'.*conv',
            ['backbone.stage1.conv', 'backbone.stage10.conv', 'backbone.stem.conv', 'neck.0.conv'],
        ),
        (r'neck\.1\.co.*', ['neck.0.conv']),
        (dict(type='Linear'), ['fc']),
        (
            dict(type='Conv2d', groups=1),
            ['backbone.stage1.conv', 'backbone.stem.conv', 'neck.0.conv'],
        ),
        (dict(type='_ConvNd', min_groups=2), ['backbone.stage10.conv']),
        (
            dict(type='Conv2d', min_channels=5, max_channels=8),
            ['backbone.stage1.conv', 'neck.0.conv'],
        ),
        (dict(min_channels=8, type='Linear'), []),
        (dict(kernel_size=3, name=r'neck\..*'), ['neck.0.conv']),
        (dict(name=r'neck\.1\.conv'), ['neck.0.conv']),
    ],
)
def test_a_selector_means_these_layers(model, selector, wanted):
    if wanted:
        assert names(model, selector) == wanted
    else:
        with pytest.raises(UserError):
            names(model, selector)


def test_a_name_is_not_a_prefix(model):
    assert 'backbone.stage10.conv' not in names(model, 'backbone.stage1')


def test_selectors_add_up(model):
    assert names(model, 'fc', 'stem.conv') == ['backbone.stem.conv', 'fc']


def test_no_selector_means_no_layer(model):
    assert select(model, [], 'peft.exclude') == set()


def test_a_shared_module_is_one_module_with_all_its_names(model):
    assert module_names(model)[model.neck[0].conv] == ['neck.0.conv', 'neck.1.conv']
    assert names(model, 'neck.1.conv') == ['neck.0.conv']


@pytest.mark.parametrize(
    ('selector', 'near'),
    [
        ('stage1.cnv', ['stage1.conv', 'stage10.conv']),
        ('backbone.stm.conv', ['backbone.stem.conv']),
        ('nekc', ['neck']),
    ],
)
def test_what_matches_nothing_is_an_error_with_the_three_nearest_names(model, selector, near):
    with pytest.raises(UserError) as caught:
        names(model, selector)
    message = str(caught.value)
    assert message.startswith(f'peft.targets: {selector!r} matches no layer; nearest: ')
    suggested = message.split('nearest: ')[1].split(', ')
    assert len(suggested) == 3
    assert all(repr(name) in suggested for name in near)
    assert '\n' not in message


@pytest.mark.parametrize(
    ('selector', 'message'),
    [
        (
            dict(type='Conv3d'),
            r"no layer is \{'type': 'Conv3d'\}; .* types \['BatchNorm2d', 'Conv2d'",
        ),
        (dict(kind='Conv2d'), "has no key 'kind'; nearest: .*'kernel_size'"),
        (dict(), 'takes the keys'),
        (3, '3 is neither a name or regular expression nor a dict'),
        ('(', r"'\(' is neither a name nor a regular expression"),
        (dict(name='('), r"'\(' is neither a name nor a regular expression"),
        (dict(name=3), '3 is neither a name nor a regular expression'),
        ('', "'' matches no layer"),
        ('act', r"'act' means only modules without parameters, of the types \['ReLU'\]"),
    ],
)
def test_a_selector_that_means_nothing_is_refused(model, selector, message):
    with pytest.raises(UserError, match=message):
        select(model, [selector], 'peft.targets')
