"""Adapter folders that Hugging Face's PEFT wrote or is to open: PEFT itself is the reference."""

import json
import re
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from mmadapt import UserError, export_hf, inject, load_adapter, merge, save_adapter
from mmadapt.adapters import AdapterLayer
from mmadapt.files import BaseRecord, check_adapter_fits, rebuild
from mmadapt.peft import get_state

peft = pytest.importorskip('peft', reason='peft, the reference, is not installed')
CONFIG, WEIGHTS = 'adapter_config.json', 'adapter_model.safetensors'
LAYERS = ['table', 'text', 'image', 'block.image', 'video', 'fc']


class Zoo(nn.Module):
    """A layer of every kind that has a form in PEFT's files, two of them with alike names."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(11, 6)
        self.text = nn.Conv1d(6, 4, 3, padding='same')
        self.image = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.block = nn.ModuleDict(
            dict(image=nn.Conv2d(4, 4, (1, 3), bias=False), norm=nn.BatchNorm2d(4))
        )
        self.video = nn.Conv3d(1, 4, 2)
        self.fc = nn.Linear(4, 5)
        self.head = nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))

    def forward(self, words, x):
        words = self.text(self.table(words).transpose(1, 2)).mean(2)
        video = self.video(x[:, None]).mean((2, 3, 4))
        x = self.block['norm'](self.block['image'](self.image(x))).mean((2, 3))
        return self.head(torch.tanh(self.fc(words + x + video)))


GENERATOR = torch.Generator().manual_seed(0)
X = (
    torch.randint(0, 11, (4, 7), generator=GENERATOR),
    torch.randn(4, 3, 12, 12, generator=GENERATOR),
)


def perturb(model):
    """Give everything that trains other values, and the statistics of norms that train."""
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.3)
        for norm in model.modules():
            if isinstance(norm, nn.BatchNorm1d) and norm.weight.requires_grad:
                norm.running_mean.normal_()
                norm.running_var.uniform_(0.5, 2)
    return model.eval()


def check_equal(output, wanted):
    assert (wanted - Zoo().eval()(*X)).abs().max() > 0.01
    torch.testing.assert_close(output, wanted, rtol=1e-6, atol=1e-6)


def open_theirs(folder, model=None):
    with warnings.catch_warnings():
        warnings.filterwarnings('error', 'Found missing adapter keys')
        return peft.PeftModel.from_pretrained(model or Zoo(), str(folder)).eval()


def adapted_by_peft(model):
    names = [name for name, m in model.named_modules() if isinstance(m, peft.tuners.lora.LoraLayer)]
    return [name.removeprefix('base_model.model.') for name in names]


METHODS = {
    'LoRA': dict(type='LoRA', r=2, alpha=6),
    'dropout': dict(type='LoRA', r=2, alpha=6, dropout=0.3),
    'LoRA-FA': dict(type='LoRA', r=2, alpha=6, freeze_A=True),
    'rsLoRA': dict(type='LoRA', r=3, alpha=2.5, rslora=True),
    'patterns': dict(
        type='LoRA',
        r=2,
        alpha=6,
        rank_pattern={'(?:image)': 3, 'block.image': 4},
        alpha_pattern={'(?:image)': 5, 'fc': 1.5, 'table': 9},
    ),
    'rsLoRA patterns': dict(
        type='LoRA',
        r=2,
        alpha=6,
        rslora=True,
        rank_pattern=dict(video=3),
        alpha_pattern={'block.image': 5},
    ),
    'DoRA': dict(type='DoRA', r=2, alpha=6),
    'DoRA-FA': dict(type='DoRA', r=2, alpha=6, freeze_A=True),
    'DoRA patterns': dict(type='DoRA', r=2, alpha=6, rslora=True, rank_pattern=dict(table=3)),
    'PiSSA': dict(type='LoRA', r=2, alpha=6, init='pissa'),
    'OLoRA': dict(type='LoRA', r=2, alpha=6, init='olora', alpha_pattern=dict(fc=3)),
    'rsLoRA PiSSA': dict(
        type='LoRA', r=2, alpha=6, init='pissa', rslora=True, rank_pattern=dict(fc=3)
    ),
    'DoRA PiSSA': dict(type='DoRA', r=2, alpha=6, init='pissa'),
}


@pytest.mark.parametrize('method', METHODS)
def test_peft_opens_what_is_exported_and_computes_the_same(tmp_path, method):
    model = Zoo()
    inject(model, dict(method=METHODS[method], targets=LAYERS[2:3] + LAYERS, head=['head.0']))
    wanted = perturb(model)(*X)
    export_hf(model, str(tmp_path / 'a'))
    theirs = open_theirs(tmp_path / 'a')
    check_equal(theirs(*X), wanted)
    assert sorted(adapted_by_peft(theirs)) == sorted(LAYERS)
    merged = theirs.merge_and_unload()
    torch.testing.assert_close(merged.eval()(*X), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('method', METHODS)
def test_we_read_what_is_exported_and_can_export_it_again(tmp_path, method):
    model = Zoo()
    inject(model, dict(method=METHODS[method], targets=LAYERS, head=['head']))
    wanted = perturb(model)(*X)
    export_hf(model, str(tmp_path / 'a'))
    again = Zoo().eval()
    load_adapter(again, str(tmp_path / 'a'))
    check_equal(again(*X), wanted)
    load_adapter(again, str(tmp_path / 'a'))  # onto one that is adapted so already
    check_equal(again(*X), wanted)
    export_hf(again, str(tmp_path / 'b'))
    first, second = (load_file(tmp_path / name / WEIGHTS) for name in 'ab')
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    save_adapter(again, str(tmp_path / 'ours'))
    ours = Zoo().eval()
    load_adapter(ours, str(tmp_path / 'ours'))
    assert torch.equal(ours(*X), again(*X))


@pytest.mark.parametrize(
    'peft_key',
    [
        dict(head='freeze'),
        dict(head='train'),
        dict(head=['head.1']),
        dict(head=['head.2']),
        dict(head='freeze', norm='affine'),
        dict(head='freeze', norm='stats'),
        dict(head='train', norm='train'),
        dict(head='adapt'),
    ],
)
def test_what_trains_fully_is_exported_as_modules_to_save(tmp_path, peft_key):
    model = Zoo()
    inject(model, dict(method=METHODS['LoRA'], **peft_key))
    perturb(model)
    if peft_key.get('norm') in ('stats', 'train'):
        model.block['norm'].running_mean.fill_(0.3)
    wanted = model(*X)
    export_hf(model, str(tmp_path / 'a'))
    check_equal(open_theirs(tmp_path / 'a')(*X), wanted)
    again = Zoo().eval()
    load_adapter(again, str(tmp_path / 'a'))
    check_equal(again(*X), wanted)


@pytest.mark.parametrize(
    'method', ['LoRA', 'LoRA-FA', 'rsLoRA', 'patterns', 'DoRA', 'DoRA patterns']
)
def test_peft_opens_a_saved_folder_where_every_tensor_has_a_form(tmp_path, method):
    model = Zoo()
    inject(model, dict(method=METHODS[method], targets=LAYERS, head='freeze'))
    wanted = perturb(model)(*X)
    save_adapter(model, str(tmp_path / 'a'))
    check_equal(open_theirs(tmp_path / 'a')(*X), wanted)


def test_keys_and_shapes_are_those_that_peft_writes(tmp_path):
    model = Zoo()
    inject(model, dict(method=METHODS['DoRA'], targets=LAYERS, head=['head.1']))
    export_hf(model, str(tmp_path / 'ours'))
    config = peft.LoraConfig(
        r=2, lora_alpha=6, use_dora=True, target_modules=LAYERS, modules_to_save=['head.1']
    )
    peft.get_peft_model(Zoo(), config).save_pretrained(str(tmp_path / 'theirs'))
    ours, theirs = (
        {
            key: (tensor.shape, tensor.dtype)
            for key, tensor in load_file(tmp_path / name / WEIGHTS).items()
        }
        for name in ('ours', 'theirs')
    )
    assert ours == theirs
    written = json.loads((tmp_path / 'ours' / CONFIG).read_text())
    known = json.loads((tmp_path / 'theirs' / CONFIG).read_text())
    assert written.keys() <= known.keys()
    assert {key: written[key] for key in ('r', 'lora_alpha', 'use_dora', 'modules_to_save')} == {
        key: known[key] for key in ('r', 'lora_alpha', 'use_dora', 'modules_to_save')
    }


class Chain(nn.Module):
    """Linear layers of given names."""

    def __init__(self, names):
        super().__init__()
        torch.manual_seed(0)
        self.names = names
        for name in names:
            *parents, last = name.split('.')
            parent = self
            for part in parents:
                if not hasattr(parent, part):
                    parent.add_module(part, nn.Module())
                parent = getattr(parent, part)
            parent.add_module(last, nn.Linear(4, 4))

    def forward(self, x):
        for name in self.names:
            x = torch.tanh(self.get_submodule(name)(x))
        return x


@pytest.mark.parametrize(
    ('names', 'adapted', 'trained'),
    [
        (['conv', 'b.conv'], ['conv'], []),
        (['conv', 'b.conv'], ['b.conv'], []),
        (['conv', 'b.conv', 'b.xconv'], ['b.conv', 'conv'], []),
        (['a.1', 'a.11', 'a1', 'a-1'], ['a.1'], ['a.11']),
        (['conv', 'b.conv', 'fc'], ['conv', 'b.conv', 'fc'], []),
        (['h.0', 'hx0', 'fc'], ['h.0', 'hx0', 'fc'], []),
        (['h.0', 'hx0'], ['hx0'], []),
        (['head', 'xhead', 'fc'], ['fc'], ['xhead']),
        (['default', 'a.default', 'lora_A', 'base_layer'], ['default', 'lora_A', 'base_layer'], []),
        (['a.modules_to_save.y', 'x'], ['x'], ['a.modules_to_save.y']),
        (['base_model.model.x', 'x'], ['x'], []),
        (['a+b', 'a-c d', 'aab'], ['a+b', 'a-c d'], []),
        (['all-linear', 'fc'], ['all-linear'], []),
        ([f'l{i}.q' for i in range(30)], [f'l{i}.q' for i in range(0, 30, 2)], []),
    ],
)
def test_peft_adapts_no_layer_whose_name_merely_looks_like_one_of_ours(
    tmp_path, names, adapted, trained
):
    model, exact = Chain(names), [f'(?:{re.escape(name)})' for name in adapted]
    inject(
        model,
        dict(
            method=dict(
                type='LoRA', r=2, alpha=3, rank_pattern={exact[0]: 3}, alpha_pattern={exact[0]: 7}
            ),
            targets=exact,
            head=[f'(?:{re.escape(name)})' for name in trained] or 'freeze',
        ),
    )
    x = torch.randn(3, 4)
    wanted = perturb(model)(x)
    export_hf(model, str(tmp_path / 'a'))
    theirs = open_theirs(tmp_path / 'a', Chain(names))
    assert sorted(adapted_by_peft(theirs)) == sorted(adapted)
    torch.testing.assert_close(theirs(x), wanted, rtol=1e-6, atol=1e-6)
    again = Chain(names).eval()
    load_adapter(again, str(tmp_path / 'a'))
    assert torch.equal(again(x), wanted)


@pytest.mark.parametrize(
    ('names', 'adapted', 'trained'),
    [
        (['head', 'xhead', 'fc'], 'fc', 'head'),
        (['h.0', 'hx0'], 'hx0', 'h.0'),
        (['layer', 'fc'], 'fc', 'layer'),
        (['fc', 'B.default'], 'fc', 'B.default'),
        (['a(b', 'fc'], 'fc', 'a(b'),
    ],
)
def test_a_trained_layer_that_peft_would_take_for_another_is_not_exported(
    tmp_path, names, adapted, trained
):
    model = Chain(names)
    inject(
        model,
        dict(
            method=METHODS['LoRA'],
            targets=[f'(?:{re.escape(adapted)})'],
            head=[f'(?:{re.escape(trained)})'],
        ),
    )
    with pytest.raises(UserError, match=re.escape(trained) + ': it trains, and PEFT takes its na'):
        export_hf(model, str(tmp_path / 'a'))


class Formless(nn.Module):
    """One layer of a kind that PEFT cannot compute as it is, and one that it can."""

    def __init__(self, layer, attention=False):
        super().__init__()
        torch.manual_seed(0)
        self.odd = layer()
        self.alias = self.odd if attention is None else None
        self.fc = nn.Linear(4, 4)
        self.attention = attention

    def forward(self, x):
        if self.attention:
            x = x.flatten(2).transpose(1, 2)
            return self.fc(self.odd(x, x, x)[0])
        x = self.odd(x) if self.alias is None else self.alias(self.odd(x))
        return self.fc(x.flatten(2).mean(2))


def conv_ws():
    from mmcv.cnn.bricks.conv_ws import ConvWS2d

    return ConvWS2d(4, 4, 3)


LORA, DORA, SSF = METHODS['LoRA'], METHODS['DoRA'], dict(type='SSF')
MAP = torch.randn(2, 4, 9, 9, generator=GENERATOR)
FORMLESS = {
    'SSF': (
        lambda: Formless(lambda: nn.Conv2d(4, 4, 3)),
        dict(method=SSF),
        'odd: SSF is no method of it',
    ),
    'SSF on a norm': (
        lambda: Formless(lambda: nn.GroupNorm(2, 4)),
        dict(method=SSF, targets=['odd']),
        'odd: SSF is no method of it',
    ),
    'grouped': (
        lambda: Formless(lambda: nn.Conv2d(4, 4, 3, groups=2)),
        dict(targets=['odd']),
        'odd: a grouped convolution',
    ),
    'depthwise': (
        lambda: Formless(lambda: nn.Conv2d(4, 4, 3, groups=4)),
        dict(method=DORA, targets=['odd']),
        'odd: a grouped convolution',
    ),
    'dilated': (
        lambda: Formless(lambda: nn.Conv2d(4, 4, 3, dilation=2, padding='same')),
        {},
        'odd: a dilated convolution',
    ),
    'reflect': (
        lambda: Formless(lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode='reflect')),
        {},
        "odd: a convolution of padding_mode='reflect'",
    ),
    'transposed': (
        lambda: Formless(lambda: nn.ConvTranspose2d(4, 4, 3)),
        {},
        'odd: a ConvTranspose2d',
    ),
    'standardized': (lambda: Formless(conv_ws), {}, 'odd: a ConvWS2d'),
    'attention': (
        lambda: Formless(lambda: nn.MultiheadAttention(4, 2, batch_first=True), True),
        {},
        'odd: a MultiheadAttention',
    ),
    'shared': (
        lambda: Formless(lambda: nn.Conv2d(4, 4, 3), None),
        {},
        'odd: it stands in the model under several names',
    ),
    'shared and trained': (
        lambda: Formless(lambda: nn.Conv2d(4, 4, 3), None),
        dict(targets=['fc'], head=['odd']),
        'odd: it stands in the model under several names',
    ),
}


@pytest.mark.parametrize('kind', FORMLESS)
def test_what_peft_has_no_form_for_is_saved_under_our_keys_and_refused_by_peft_and_by_export(
    tmp_path, kind
):
    build, options, reason = FORMLESS[kind]
    model = build()
    inject(model, dict(method=LORA, head='freeze') | options)
    wanted = perturb(model)(MAP)
    assert (wanted - build().eval()(MAP)).abs().max() > 1e-3
    save_adapter(model, str(tmp_path / 'a'))
    keys = [key for key in load_file(tmp_path / 'a' / WEIGHTS) if 'odd.' in key]
    assert keys
    assert all(key.startswith('mmadapt.odd.') for key in keys)
    with pytest.raises(KeyError, match='MMADAPT'):
        peft.PeftModel.from_pretrained(build(), str(tmp_path / 'a'))
    with pytest.raises(UserError) as caught:
        export_hf(model, str(tmp_path / 'b'))
    assert reason in str(caught.value)
    assert not (tmp_path / 'b').exists()
    again = build().eval()
    load_adapter(again, str(tmp_path / 'a'))
    assert torch.equal(again(MAP), wanted)


def test_a_refusal_names_every_layer_once_and_a_long_one_is_cut(tmp_path):
    model = nn.Sequential(*(nn.Conv2d(2, 2, 1, groups=2) for _ in range(25)), nn.Conv2d(2, 2, 1))
    inject(model, dict(method=LORA, targets='all-conv'))
    with pytest.raises(UserError) as caught:
        export_hf(model, str(tmp_path / 'a'))
    first, *lines = str(caught.value).splitlines()
    assert 'has no form for 25 of the layers' in first
    assert lines == [f'  {i}: a grouped convolution' for i in range(20)] + [
        '  and 5 more: a grouped convolution'
    ]


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda m: inject(m, dict(method=None, head=['head'])), 'has no adapter, only layers that'),
        (lambda m: (inject(m, dict(method=LORA)), merge(m)), 'call mmadapt.unmerge before saving'),
        (lambda m: None, 'this Zoo is not adapted'),
        (
            lambda m: (inject(m, dict(method=DORA)), m.fc.magnitude.data[2].zero_()),
            'fc: a channel of zeros, by whose norm its DoRA divides',
        ),
    ],
)
def test_a_model_that_cannot_be_exported_says_why(tmp_path, change, message):
    model = Zoo()
    change(model)
    with pytest.raises(UserError, match=message):
        export_hf(model, str(tmp_path / 'a'))
    assert not (tmp_path / 'a').exists()


def test_a_layer_whose_own_weight_no_base_has_is_not_exported(tmp_path):
    model = Zoo()
    inject(model, dict(method=LORA, head='freeze', allow_random_base=True))
    with pytest.raises(UserError, match='fc: it is adapted, and no base file has its own weight'):
        export_hf(model, str(tmp_path / 'a'), BaseRecord(not_in_base=['fc.weight']))


def write_theirs(path, model=None, seed=2, **options):
    """Write a folder with PEFT; return the model it is of."""
    config = peft.LoraConfig(
        **{'r': 3, 'lora_alpha': 7, 'target_modules': ['image', 'fc'], **options}
    )
    theirs = peft.get_peft_model(model or Zoo(), config)
    perturb(theirs)
    theirs.save_pretrained(str(path))
    return theirs


@pytest.mark.parametrize(
    'options',
    [
        dict(lora_dropout=0.2),
        dict(use_rslora=True),
        dict(use_dora=True),
        dict(target_modules=LAYERS),
        dict(use_dora=True, use_rslora=True, target_modules=LAYERS),
        dict(rank_pattern=dict(image=5), alpha_pattern={'^image': 3, 'fc': 2.5}),
        dict(rank_pattern={'^image': 5, 'im.*': 4}, use_rslora=True, target_modules=LAYERS),
        dict(rank_pattern={r'block\.\w+': 5, 'image': 2, 'tab|fc': 4}, target_modules=LAYERS),
        dict(target_modules=r'.*image|fc'),
        dict(target_modules=r'block\..*age'),
        dict(modules_to_save=['head.2']),
        dict(modules_to_save=['head']),
        dict(modules_to_save=['norm', 'ead.1'], use_dora=True),
        dict(init_lora_weights='gaussian'),
        dict(init_lora_weights=False),
        dict(init_lora_weights='orthogonal', r=4, target_modules=['fc']),
        dict(exclude_modules=['block.image']),
    ],
)
def test_we_read_a_folder_of_peft_and_compute_the_same(tmp_path, options):
    theirs = write_theirs(tmp_path / 'theirs', **options)
    model = Zoo().eval()
    load_adapter(model, str(tmp_path / 'theirs'))
    check_equal(model(*X), theirs(*X))
    adapted = [name for name, m in model.named_modules() if isinstance(m, AdapterLayer)]
    assert adapted == adapted_by_peft(theirs)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    there = {
        name.removeprefix('base_model.model.').replace('.modules_to_save.default', '')
        for name, p in theirs.named_parameters()
        if p.requires_grad
    }
    assert {name for name in trained if 'lora' not in name and 'magnitude' not in name} == {
        name for name in there if 'lora' not in name
    }
    save_adapter(model, str(tmp_path / 'ours'))
    again = Zoo().eval()
    load_adapter(again, str(tmp_path / 'ours'))
    assert torch.equal(again(*X), model(*X))


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(11, 6, padding_idx=2)
        self.table.weight.data[2] = 1.5  # as pretrained models of text have it

    def forward(self, words):
        return self.table(words)


@pytest.mark.parametrize('method', [LORA, METHODS['PiSSA']])
def test_the_padding_entry_of_an_embedding_means_the_same_on_both_sides(tmp_path, method):
    model, words = Words(), torch.arange(11)
    inject(model, dict(method=method, targets=['table'], head='freeze'))
    wanted = perturb(model)(words)
    export_hf(model, str(tmp_path / 'ours'))
    theirs = open_theirs(tmp_path / 'ours', Words())
    torch.testing.assert_close(theirs(words), wanted, rtol=1e-6, atol=1e-6)
    save_adapter(model, str(tmp_path / 'saved'))
    again = Words().eval()
    load_adapter(again, str(tmp_path / 'saved'))
    assert torch.equal(again(words), wanted)


def test_we_read_what_peft_trained_of_an_embedding_with_a_padding_entry(tmp_path):
    config = peft.LoraConfig(r=2, lora_alpha=6, target_modules=['table'])
    theirs = peft.get_peft_model(Words(), config)
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        theirs(torch.arange(11)).square().sum().backward()
        optimizer.step()
    theirs.save_pretrained(str(tmp_path / 'a'))
    model = Words().eval()
    load_adapter(model, str(tmp_path / 'a'))
    wanted = theirs.eval()(torch.arange(11))
    assert (wanted - Words()(torch.arange(11))).abs().max() > 0.1
    torch.testing.assert_close(model(torch.arange(11)), wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            dict(use_dora=True),
            'table: its padding entry, which its DoRA there does not leave alone',
        ),
        (dict(init_lora_weights=False), 'its padding entry too, which is not read'),
    ],
)
def test_a_padding_entry_that_peft_changes_is_not_read(tmp_path, options, message):
    write_theirs(tmp_path / 'a', Words(), target_modules=['table'], **options)
    with pytest.raises(UserError, match=message):
        load_adapter(Words(), str(tmp_path / 'a'))


def test_we_read_what_peft_converted_from_pissa(tmp_path):
    config = peft.LoraConfig(r=2, lora_alpha=6, init_lora_weights='pissa', target_modules=['fc'])
    theirs = peft.get_peft_model(Zoo(), config)
    theirs.peft_config['default'].init_lora_weights = True
    theirs.save_pretrained(str(tmp_path / 'first'))
    theirs.peft_config['default'].init_lora_weights = 'pissa'
    wanted = perturb(theirs)(*X)
    theirs.save_pretrained(
        str(tmp_path / 'a'), path_initial_model_for_weight_conversion=str(tmp_path / 'first')
    )
    model = Zoo().eval()
    load_adapter(model, str(tmp_path / 'a'))
    torch.testing.assert_close(model(*X), wanted, rtol=1e-5, atol=1e-5)


def edit(folder, change_config=lambda c: None, change=lambda t: None):
    config = json.loads((folder / CONFIG).read_text())
    change_config(config)
    (folder / CONFIG).write_text(json.dumps(config))
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)


def test_modules_to_save_may_keep_the_name_of_their_wrapper(tmp_path):
    wanted = write_theirs(tmp_path / 'a', modules_to_save=['head.2'])(*X)
    key = 'base_model.model.head.2.'
    edit(
        tmp_path / 'a',
        change=lambda t: [
            t.update({f'{key}modules_to_save.{name}': t.pop(key + name)})
            for name in ('weight', 'bias')
        ],
    )
    model = Zoo().eval()
    load_adapter(model, str(tmp_path / 'a'))
    check_equal(model(*X), wanted)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            dict(bias='all'),
            r"bias='all' \(it trains biases of the base as well\), which is not read",
        ),
        (dict(bias='lora_only'), r"bias='lora_only' \(it trains biases of the base as well\)"),
        (
            dict(init_lora_weights='pissa', target_modules=['fc']),
            r"init_lora_weights='pissa' \(which took something out of the base.*_conversion\)",
        ),
        (dict(init_lora_weights='olora', target_modules=['fc']), "init_lora_weights='olora'"),
        (dict(lora_bias=True), r'lora_bias=True \(its B has a bias\)'),
    ],
)
def test_what_we_do_not_read_of_pefts_settings_is_refused_by_name(tmp_path, options, message):
    write_theirs(tmp_path / 'a', **options)
    model = Zoo()
    with pytest.raises(UserError, match=message) as caught:
        load_adapter(model, str(tmp_path / 'a'))
    assert str(tmp_path / 'a') in str(caught.value)
    assert get_state(model) is None


LORA_B = 'base_model.model.fc.lora_B.weight'


@pytest.mark.parametrize(
    ('change_config', 'change', 'message'),
    [
        (dict(r=None), {}, 'r=None, which is not read'),
        (dict(lora_alpha=None), {}, 'lora_alpha=None, which is not read'),
        (dict(peft_type=None), {}, 'peft_type=None, which is not read'),
        (dict(peft_type='LOHA'), {}, "peft_type='LOHA', which is not read"),
        (
            dict(layers_to_transform=[1]),
            {},
            r'layers_to_transform=\[1\] \(it chooses layers by numb',
        ),
        (dict(init_lora_weights='mica'), {}, "init_lora_weights='mica'"),
        (dict(novelty=dict(a=1)), {}, r"novelty=\{'a': 1\}, which is not read"),
        (dict(r='8'), {}, "peft.method.r must be an integer of at least 1, got '8'"),
        (dict(rank_pattern={'(': 3}), {}, 'a pattern in its settings is damaged'),
        (dict(rank_pattern=[3]), {}, 'a pattern in its settings is damaged'),
        (
            dict(target_modules=['image']),
            {},
            r"adapts fc, which its target_modules \['image'\] do not",
        ),
        (dict(target_modules='block.*|image'), {}, 'adapts fc, which its target_modules'),
        (dict(r=5), {}, r'lora_A of shape \(3, .* the model has \(5, '),
        ({}, {LORA_B: None}, 'lacks fc.lora_B and 0 more tensors'),
        (dict(use_dora=True), {}, 'lacks block.image.magnitude and 2 more tensors'),
        (
            {},
            {'base_model.model.fc.lora_magnitude_vector': torch.ones(5)},
            'holds fc.magnitude and 0 more tensors that this model does not have',
        ),
        (
            {},
            {'base_model.model.fc.lora_C.weight': torch.ones(1)},
            'fc.lora_C.weight, which has no',
        ),
        (
            {},
            {'fc.lora_A.weight': torch.ones(1)},
            'holds fc.lora_A.weight, which has no meaning here',
        ),
        (
            {},
            {'base_model.model.head.2.weight': torch.ones(2, 3)},
            'head.2.weight, which has no mean',
        ),
        (
            {},
            {'base_model.model.fc.base_layer.bias': torch.ones(5)},
            'a tensor inside an adapted laye',
        ),
        ({}, {'mmadapt.fc.lora_A': torch.ones(3, 4)}, 'its settings lack what mmadapt wrote there'),
        (
            {},
            {'base_model.model.fc.lora_embedding_A': torch.ones(3, 4)},
            'holds fc.lora_A under two n',
        ),
        ({}, {LORA_B: torch.ones(5, 2)}, r'fc.lora_B of shape \(5, 2\), the model has \(5, 3\)'),
        (
            {},
            {'base_model.model.nose.lora_A.weight': torch.ones(3, 4)},
            'adapts nose, which its target_modules',
        ),
    ],
)
def test_a_damaged_folder_of_peft_is_refused_and_the_model_stays_what_it_was(
    tmp_path, change_config, change, message
):
    write_theirs(tmp_path / 'a')

    def edit_tensors(tensors):
        tensors.update({key: tensor for key, tensor in change.items() if tensor is not None})
        for key in [key for key, tensor in change.items() if tensor is None]:
            del tensors[key]

    edit(tmp_path / 'a', lambda c: c.update(change_config), edit_tensors)
    model = Zoo()
    with pytest.raises(UserError, match=message) as caught:
        load_adapter(model, str(tmp_path / 'a'))
    assert str(tmp_path / 'a') in str(caught.value)
    assert get_state(model) is None
    assert [type(m) for m in model.modules()] == [type(m) for m in Zoo().modules()]
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize(
    ('kind', 'options', 'reason'),
    [
        ('dilated', {}, 'odd: a dilated convolution'),
        ('reflect', {}, "odd: a convolution of padding_mode='reflect'"),
        ('standardized', {}, 'odd: a ConvWS2d'),
        ('shared', {}, 'odd: it stands in the model under several names'),
        (
            'shared',
            dict(target_modules=['fc'], modules_to_save=['odd']),
            'odd: it stands in the model under several names',
        ),
    ],
)
def test_a_layer_that_peft_computes_otherwise_than_it_should_is_not_read(
    tmp_path, kind, options, reason
):
    build = FORMLESS[kind][0]
    write_theirs(tmp_path / 'a', build(), **{'target_modules': ['odd', 'fc'], **options})
    model = build()
    with pytest.raises(UserError, match=re.escape(reason)):
        load_adapter(model, str(tmp_path / 'a'))
    assert get_state(model) is None


def test_an_adapted_model_of_another_method_is_told_the_difference(tmp_path):
    write_theirs(tmp_path / 'a')
    model = Zoo()
    inject(
        model, dict(method=dict(type='LoRA', r=3, alpha=8), targets=['image', 'fc'], head='freeze')
    )
    with pytest.raises(UserError, match="another `peft`; method: .*'alpha': 7.* there, .*8"):
        load_adapter(model, str(tmp_path / 'a'))
    other = Zoo()
    inject(
        other,
        dict(
            method=dict(type='LoRA', r=3, alpha=7, init='gaussian', dropout=0.1),
            targets=['image', 'fc'],
            head='freeze',
        ),
    )
    load_adapter(other, str(tmp_path / 'a'))


def test_the_a_of_a_folder_of_peft_can_be_what_stays_frozen(tmp_path):
    theirs = write_theirs(tmp_path / 'a')
    model = Zoo()
    method = dict(type='LoRA', r=3, alpha=7, freeze_A=True)
    inject(model, dict(method=method, targets=['image', 'fc'], head='freeze'))
    check_adapter_fits(model, str(tmp_path / 'a'), ())
    load_adapter(model, str(tmp_path / 'a'))
    check_equal(model.eval()(*X), theirs(*X))
    trained = {name.rpartition('.')[2] for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {'lora_B'}
    save_adapter(model, str(tmp_path / 'ours'))
    again = Zoo()
    load_adapter(again, str(tmp_path / 'ours'))
    assert not again.fc.lora_A.requires_grad
    assert torch.equal(again.fc.lora_A, model.fc.lora_A)


def test_training_may_start_from_a_folder_of_peft_and_a_model_is_rebuilt_from_it(tmp_path):
    theirs = write_theirs(tmp_path / 'a', modules_to_save=['head.2'])
    model = Zoo()
    method = dict(type='LoRA', r=3, alpha=7)
    inject(model, dict(method=method, targets=['image', 'fc'], head=['head.2']))
    check_adapter_fits(model, str(tmp_path / 'a'), ())
    frozen = Zoo()
    inject(frozen, dict(method=method, targets=['image', 'fc'], head='freeze'))
    with pytest.raises(UserError, match='holds head.2.bias and 1 more tensors that this config'):
        check_adapter_fits(frozen, str(tmp_path / 'a'), ())
    torch.save(Zoo().state_dict(), tmp_path / 'base.pth')
    again = Zoo()
    torch.nn.init.zeros_(again.video.weight)
    rebuild(again, str(tmp_path / 'a'), str(tmp_path / 'base.pth'))
    check_equal(again.eval()(*X), theirs(*X))


def test_a_detectors_body_goes_to_peft_and_back(build_detector, tmp_path):
    x = torch.rand(1, 3, 64, 64, dtype=torch.float64)
    body = dict(type='Conv2d', groups=1, name='(backbone|neck).*')
    model = build_detector().double()
    inject(
        model,
        dict(
            method=dict(type='DoRA', r=4, rank_pattern={'.*blocks.*': 2}),
            targets=[body],
            head='freeze',
        ),
    )
    torch.manual_seed(0)
    for layer in model.modules():
        if isinstance(layer, AdapterLayer):
            layer.lora_B.data.normal_(std=0.02)

    def features(model):
        with torch.no_grad():
            return torch.cat([level.flatten() for level in model.eval().extract_feat(x)])

    wanted = features(model)
    assert (wanted - features(build_detector().double())).abs().max() > 0.1
    export_hf(model, str(tmp_path / 'ours'))
    theirs = open_theirs(tmp_path / 'ours', build_detector().double()).double()
    assert len(adapted_by_peft(theirs)) == len(get_state(model).adapted) > 50
    assert (features(theirs) - wanted).abs().max() < 1e-6 * wanted.abs().max()
    theirs.save_pretrained(str(tmp_path / 'theirs'))
    again = build_detector().double()
    load_adapter(again, str(tmp_path / 'theirs'))
    assert torch.equal(features(again), wanted)
