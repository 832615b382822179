"""Every key of ``peft`` with every kind of wrong value: it works, or it is named.

No raw error of Python, torch or difflib reaches a user.
"""

import inspect
import re
from dataclasses import fields

import pytest
from torch import nn

from mmadapt import UserError, adapter_names, inject
from mmadapt.adapters import ADAPTERS, other_names
from mmadapt.memory import MemoryConfig, apply_memory
from mmadapt.peft import PEFTConfig
from mmadapt.peft.targets import LayerSelector
from mmadapt.quantization import EightBit, FourBit, parse_quant

VALUES = [
    None,
    True,
    False,
    -1,
    0,
    1,
    2,
    1.5,
    float('nan'),
    float('inf'),
    10**400,
    '',
    'x',
    '(',
    '64',
    b'x',
    object(),
    int,
    [],
    [[]],
    [None],
    ['x'],
    ['('],
    [1],
    [{3: 4}],
    (3, 3),
    {'x'},
    {},
    {'x': 1},
    {1: 2},
    {'neck': None},
    {'neck': 'a'},
    {'neck': [1]},
    {'a': {'b': []}},
    dict(type=3),
    dict(type='Conv2d', groups='1'),
    [dict(type='Conv2d', kernel_size=(3, 3))],
    [dict(type='Conv2d', min_channels='64')],
    [dict(name=None)],
    [dict(groups=[1])],
]
METHODS = {
    name: list(inspect.signature(cls).parameters)
    for name, cls in ADAPTERS.module_dict.items()
    if cls.__module__.startswith('mmadapt')
}
PEFT = [f.name for f in fields(PEFTConfig)]


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, (1, 3))
        )
        self.neck = nn.Linear(4, 4)
        self.attention = nn.MultiheadAttention(4, 2)
        self.bbox_head = nn.Linear(4, 2)


def tried(key, function, *args, **kwargs):
    """Call a function that works, or says what is wrong with a key."""
    said = None
    try:
        function(*args, **kwargs)
    except UserError as error:
        said = str(error)
    assert said is None or re.search(rf'\b{key}\b', said), f'{key} is not named: {said}'
    return said


@pytest.mark.parametrize('key', PEFT)
def test_every_value_of_peft_works_or_is_named(key):
    for value in VALUES:
        tried(
            key,
            inject,
            Detector(),
            PEFTConfig(**{'method': dict(type='LoRA', r=2), key: value})
            if key == 'method'
            else {'method': dict(type='LoRA', r=2), key: value},
        )


@pytest.mark.parametrize(('method', 'key'), [(m, k) for m, keys in METHODS.items() for k in keys])
def test_every_value_of_a_method_works_or_is_named(method, key):
    for value in VALUES:
        tried(key, inject, Detector(), dict(method={'type': method, key: value}))


@pytest.mark.parametrize('key', LayerSelector.KEYS)
@pytest.mark.parametrize('where', ['targets', 'exclude'])
def test_every_value_of_a_description_of_layers_works_or_is_named(where, key):
    for value in VALUES:
        cfg = {'method': dict(type='LoRA', r=2), where: [{key: value}]}
        said = tried(where, inject, Detector(), cfg)
        assert said is None or re.search(rf'\b{key}\b', said), said


@pytest.mark.parametrize(('bits', 'options'), [(4, FourBit), (8, EightBit)])
def test_every_value_of_quant_is_read_or_named(bits, options):
    for key in ('bits', *(f.name for f in fields(options))):
        for value in VALUES:
            tried(key, parse_quant, {'bits': bits, key: value})


@pytest.mark.parametrize('key', [f.name for f in fields(MemoryConfig)])
def test_every_value_of_memory_works_or_is_named(key):
    for value in VALUES:
        cfg = {'checkpoint': ['neck'], key: value}
        tried(key, lambda cfg=cfg: apply_memory(Detector(), MemoryConfig.parse(cfg)))


@pytest.mark.parametrize('key', [3, None, (1, 2), 1.5])
@pytest.mark.parametrize(
    ('read', 'where'),
    [
        (lambda key: inject(Detector(), {key: 1}), 'peft'),
        (lambda key: inject(Detector(), dict(method={'type': 'LoRA', key: 1})), 'peft.method'),
        (
            lambda key: inject(Detector(), dict(method=dict(type='LoRA', rank_pattern={key: 1}))),
            'peft.method.rank_pattern',
        ),
        (
            lambda key: inject(Detector(), dict(method=dict(type='LoRA'), targets=[{key: 1}])),
            'peft.targets',
        ),
        (lambda key: parse_quant({'bits': 4, key: 1}), 'peft.quant'),
        (lambda key: MemoryConfig.parse({key: 1}), 'memory'),
    ],
)
def test_a_key_that_is_no_string_is_named(read, where, key):
    with pytest.raises(UserError, match=f'{where}.*{re.escape(repr(key))}'):
        read(key)


@pytest.mark.parametrize('name', [None, 3, '', True, ['a']])
def test_a_name_of_an_adapter_is_a_string_that_is_not_empty(name):
    model = Detector()
    with pytest.raises(UserError, match=f'name of an adapter.*got {re.escape(repr(name))}'):
        inject(model, dict(method=dict(type='LoRA', r=2)), name=name)
    assert adapter_names(model) == []


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(UserError) as caught:
        PEFTConfig.parse(
            dict(
                method=dict(type='LoRA', r=0, alpha='a'),
                norm='x',
                fold_norm=1,
                targets=[dict(min_channels='64')],
            )
        )
    assert [line.split(' ')[0].split('=')[0] for line in str(caught.value).splitlines()] == [
        'peft.method.r',
        'peft.method.alpha',
        'peft.targets:',
        'peft.norm',
        'peft.fold_norm',
    ]


@pytest.mark.parametrize(
    ('cfg', 'said'),
    [
        (
            dict(method=dict(type='LoRA', rank=8)),
            "peft.method has no key 'rank'.*peft.method.r here",
        ),
        (dict(method=dict(type='LoRA', lora_alpha=8)), 'peft.method.alpha here'),
        (dict(method=dict(type='DoRA', lora_dropout=0.1)), 'peft.method.dropout here'),
        (dict(method=dict(type='LoRA', use_rslora=True)), 'peft.method.rslora here'),
        (dict(method=dict(type='LoRA', use_dora=True)), "peft.method.type='DoRA' here"),
        (dict(method=dict(type='LoRA', init_lora_weights='pissa')), 'peft.method.init here'),
        (dict(method=dict(type='LoRA', target_modules=['q'])), 'peft.targets here'),
        (
            dict(method=dict(type='LoRA', modules_to_save=['q'])),
            'peft.head, a list of layers, here',
        ),
        (dict(method=dict(type='LoRA', bias='all')), "'bias'.*leave it out: biases"),
        (dict(method=dict(type='LoRA', targets=['q'])), 'peft.targets here'),
        (dict(method=dict(type='SSF', rank=8)), "'rank' for SSF; nearest: 'attention'"),
        (dict(r=8), 'peft.method.r here'),
        (dict(lora_alpha=8), 'peft.method.alpha here'),
        (dict(target_modules=['q']), 'peft.targets here'),
        (dict(type='LoRA'), 'peft.method.type here'),
        (dict(load_in_4bit=True), 'peft.quant.bits=4 here'),
        (dict(task_type='x'), 'leave it out'),
    ],
)
def test_a_name_of_another_library_is_told_what_it_is_here(cfg, said):
    with pytest.raises(UserError, match=said):
        PEFTConfig.parse(cfg)


def test_places_are_those_that_there_are():
    places = [
        re.search(r'(peft\.[\w.]+)', said)[1]
        for said in other_names(()).values()
        if 'peft.' in said
    ]
    known = (
        {'peft.' + f.name for f in fields(PEFTConfig)}
        | {f'peft.method.{name}' for name in (*METHODS['LoRA'], 'type')}
        | {f'peft.quant.{name}' for name in ('bits', *(f.name for f in fields(FourBit)))}
    )
    assert {place for place in places if place not in known} == set()
    assert known - {'peft.method', 'peft.quant.type', 'peft.quant.skip'} <= set(places)


def selected(layer, **cfg):
    return LayerSelector(cfg, 'peft.targets')([''], layer)


def test_a_kernel_is_selected_by_one_number_or_by_one_for_each_dimension():
    square, wide = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, (1, 3))
    assert [selected(square, kernel_size=size) for size in (3, (3, 3), [3, 3], (1, 3), 1)] == [
        True,
        True,
        True,
        False,
        False,
    ]
    assert [selected(wide, kernel_size=size) for size in (3, (1, 3), (3, 1))] == [
        False,
        True,
        False,
    ]
    assert not selected(nn.Linear(3, 3), kernel_size=3)


def test_channels_are_known_of_every_layer_that_has_some():
    ops = pytest.importorskip('mmcv.ops')
    layers = [
        nn.Conv2d(8, 16, 1),
        nn.ConvTranspose2d(8, 16, 1),
        nn.Linear(8, 16),
        ops.DeformConv2dPack(8, 16, 1),
        ops.ModulatedDeformConv2dPack(8, 16, 1),
        ops.DeformConv2d(8, 16, 1),
    ]
    for layer in layers:
        assert selected(layer, min_channels=8, max_channels=16), layer
        assert not selected(layer, min_channels=9), layer
        assert not selected(layer, max_channels=15), layer
    for layer in (
        nn.MultiheadAttention(8, 2),
        nn.Embedding(3, 8),
        nn.BatchNorm2d(8),
        nn.GroupNorm(2, 8),
    ):
        assert selected(layer, min_channels=8, max_channels=8), layer
        assert not selected(layer, min_channels=9), layer
    assert not selected(nn.PReLU(), min_channels=1)


def test_what_is_selected_by_a_tuple_is_adapted():
    model = Detector()
    inject(
        model,
        dict(method=dict(type='LoRA', r=2), targets=[dict(type='Conv2d', kernel_size=(1, 3))]),
    )
    assert model.backbone[2].lora_A.shape == (2, 4, 1, 3)
    assert not hasattr(model.backbone[0], 'lora_A')
