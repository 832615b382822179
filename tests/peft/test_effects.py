"""What is asked for and would not be so is refused; what is so, or was not asked for, is not."""

import pytest
import torch
from mmengine.config import Config
from torch import nn

from mmadapt import UserError, inject, load_adapter, save_adapter
from mmadapt.adapters import ADAPTERS, AdapterMethod
from mmadapt.peft import PEFTConfig


def lora(**options):
    return dict(type='LoRA', r=2, **options)


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, groups=4)
        )
        self.neck = nn.Linear(4, 4)
        self.bbox_head = nn.Linear(4, 2)


class Frozen(Detector):
    """Keeps its norms as they are, as MMDetection's ResNets do by default."""

    def train(self, mode=True):
        super().train(mode)
        self.backbone[1].eval().requires_grad_(False)
        return self


class Odd(nn.BatchNorm2d):
    """A class of norms whose statistics cannot be frozen."""


class OddAndFrozen(Frozen):
    def __init__(self):
        super().__init__()
        self.backbone[1] = Odd(4)


def attention():
    return nn.Sequential(nn.MultiheadAttention(4, 2), nn.Linear(4, 4), nn.Linear(4, 2))


def embedding():
    return nn.Sequential(nn.Embedding(3, 4), nn.Linear(4, 2))


def plain():
    return nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))


@pytest.mark.parametrize(
    ('model', 'peft', 'message'),
    [
        (
            Detector,
            dict(method=lora(rank_pattern={'bbox_head': 4})),
            "peft.method.rank_pattern: 'bbox_head' means only layers that are not adapted .train: ",
        ),
        (
            Detector,
            dict(method=lora(alpha_pattern={'neck': 4}), targets=['backbone.0']),
            "peft.method.alpha_pattern: 'neck' means only layers that are not adapted .freeze: not in ",
        ),
        (Detector, dict(method=lora(rank_pattern={'backbone.1': 4})), 'rank_pattern.*not adapted'),
        (Detector, dict(method=lora(attention=['q', 'v'])), r"attention=\('q', 'v'\) does nothing"),
        (Detector, dict(method=dict(type='SSF', attention=['q'])), 'peft.method.attention'),
        (Detector, dict(method=dict(type='DoRA', r=2, attention=['out'])), 'peft.method.attention'),
        (attention, dict(method=lora(attention=['q']), targets=['1']), 'peft.method.attention'),
        (attention, dict(method=lora(compute='factored'), targets=['0']), 'peft.method.compute'),
        (
            embedding,
            dict(method=lora(dropout=0.1), targets=['0']),
            r"peft.method.dropout=0.1 does nothing in this Sequential: .* \['Embedding'\]; leave it out",
        ),
        (
            Detector,
            dict(method=lora(), targets=['neck'], exclude=['neck'], head='train'),
            "peft.targets: 'neck' means only layers that stay frozen: peft.exclude|no layer to adapt",
        ),
        (
            Detector,
            dict(method=lora(), targets=['neck', 'backbone'], exclude=['neck']),
            "peft.targets: 'neck' means only layers that stay frozen: peft.exclude",
        ),
        (
            Detector,
            dict(method=lora(), head=['bbox_head'], exclude=['bbox_head']),
            "peft.head: 'bbox_head' means only layers that stay frozen: peft.exclude",
        ),
        (plain, dict(method=lora(), head='freeze'), "peft.head='freeze' does nothing"),
        (plain, dict(method=lora(), head='train'), "peft.head='train' does nothing"),
        (plain, dict(method=lora(), norm='affine'), "peft.norm='affine' does nothing"),
        (plain, dict(method=lora(), norm='train'), "peft.norm='train' does nothing"),
        (Frozen, dict(method=lora(), norm='affine'), 'no norm outside its head has parameters'),
        (Frozen, dict(method=lora(), norm='train'), "peft.norm='train' does nothing"),
        (plain, dict(method=lora(), norm='stats'), "peft.norm='stats' does nothing"),
        (Frozen, dict(method=lora(), norm='stats'), 'would move .the model keeps them: norm_ev'),
        (
            Detector,
            dict(method=lora(), norm='stats', exclude=['backbone.1']),
            "peft.norm='stats' does",
        ),
        (plain, dict(method=None, targets='all', norm='stats'), "peft.norm='stats' does nothing"),
        (plain, dict(method=None, targets='all', norm='affine'), "peft.norm='affine' does nothing"),
        # The norm is adapted whatever the option says.
        (Detector, dict(method=dict(type='SSF'), norm='affine'), "peft.norm='affine' does nothing"),
        # Of two patterns for a layer the last one counts.
        (
            Detector,
            dict(method=lora(rank_pattern={'backbone.0': 4, 'backbone': 2})),
            r"rank_pattern: 'backbone.0' means only layers for which \['backbone'\] behind it count",
        ),
        (
            Detector,
            dict(method=lora(alpha_pattern={'neck': 4, r'(backbone.*|neck)': 2})),
            "peft.method.alpha_pattern: 'neck' means only layers for which",
        ),
    ],
)
def test_an_option_without_effect_is_refused(model, peft, message):
    model = model()
    before = list(map(type, model.modules()))
    with pytest.raises(UserError, match=message):
        inject(model, peft)
    assert list(map(type, model.modules())) == before
    assert all(p.requires_grad for name, p in model.named_parameters() if 'backbone.1' not in name)


@pytest.mark.parametrize(
    ('model', 'peft'),
    [
        (Detector, dict(method=lora(rank_pattern={'backbone': 4}, alpha_pattern={'neck': 2}))),
        (
            Detector,
            dict(method=lora(attention=['q', 'k', 'v', 'out'], compute='auto', dropout=0.0)),
        ),
        (attention, dict(method=lora(attention=['q', 'v']), targets=['0'])),
        (attention, dict(method=lora(dropout=0.1), targets=['0'])),
        (embedding, dict(method=lora(compute='merged'), targets=['0'])),
        (embedding, dict(method=lora(dropout=0.1), targets=['0', '1'])),
        (Detector, dict(method=lora(compute='factored', dropout=0.2))),
        # What is so already.
        (Detector, dict(method=lora(), targets=['neck'], exclude=['backbone'])),
        (Detector, dict(method=lora(), head='train')),
        (Detector, dict(method=lora(), head='freeze')),
        (plain, dict(method=None, targets='all', head='train', norm='train')),
        (plain, dict(method=lora(), head='adapt', norm='freeze', fold_norm=True)),
        (plain, dict(method=lora(), targets=['0'], head='freeze')),
        # SSF moves from a convolution to the norm behind it.
        (Detector, dict(method=dict(type='SSF'), targets=['backbone.0'])),
        (Detector, dict(method=lora(), norm='stats')),
        (Detector, dict(method=lora(), norm='affine')),
        (Detector, dict(method=dict(type='SSF'), norm='train')),
        (
            OddAndFrozen,
            dict(method=lora(), norm='stats'),
        ),  # 'freeze' is refused, and names this one
        (Detector, dict(method=dict(type='SSF'), norm='stats')),
        (
            Detector,
            dict(
                method=lora(
                    rank_pattern={'backbone': 2, 'backbone.0': 4},
                    alpha_pattern={'backbone': 3, 'backbone.0': 4, 'neck': 5},
                ),
                targets='all',
            ),
        ),
    ],
)
def test_an_option_with_an_effect_or_that_says_what_is_so_is_taken(model, peft):
    inject(model(), peft)


def test_what_is_to_stay_frozen_and_has_no_weight_is_refused():
    with pytest.raises(
        UserError,
        match="peft.exclude: 'bbox_head' means only layers that train "
        'all the same: no pretrained weight',
    ):
        inject(Detector(), dict(method=lora(), exclude=['bbox_head']), ['bbox_head.weight'])


def test_a_rank_for_a_layer_without_a_weight_is_refused():
    peft = dict(method=lora(rank_pattern={'bbox_head': 4}), head='adapt')
    inject(Detector(), peft)
    with pytest.raises(UserError, match='not adapted .train: no pretrained weight.; leave it out'):
        inject(Detector(), peft, ['bbox_head.weight'])


def test_all_without_effect_is_said_at_once():
    with pytest.raises(UserError) as caught:
        inject(
            Detector(),
            dict(
                method=lora(attention=['q'], rank_pattern={'neck': 4}),
                head=['neck'],
                exclude=['neck'],
            ),
        )
    assert [line.split(':')[0].split('=')[0] for line in str(caught.value).splitlines()] == [
        'peft.head',
        'peft.method.rank_pattern',
        'peft.method.attention',
    ]


def test_a_default_of_a_third_partys_method_is_not_asked_for(monkeypatch):
    class Gain(AdapterMethod):
        tensor_names = ('gain',)

        def __init__(self, attention=('q', 'v'), dropout=0.1):
            super().__init__(attention)
            self.dropout = dropout

        def create(self, weight, bias):
            return dict(gain=nn.Parameter(weight.new_ones(())))

        def adapt(self, weight, bias, tensors):
            return weight * tensors['gain'], bias

        def arguments(self):
            return dict(attention=list(self.attention), dropout=self.dropout)

    monkeypatch.setitem(ADAPTERS.module_dict, 'Gain', Gain)
    inject(embedding(), dict(method=dict(type='Gain'), targets=['0']))
    with pytest.raises(UserError, match='peft.method.dropout=0.2 does nothing'):
        inject(embedding(), dict(method=dict(type='Gain', dropout=0.2), targets=['0']))


@pytest.mark.parametrize(
    ('option', 'remedy'),
    [
        (dict(adapter='face'), 'mmadapt.load_adapter'),
        (dict(base='base.pth'), 'load the base'),
        (dict(export='state_dict'), 'mmadapt.merge'),
        (dict(keep_classes=False), 'leave it out'),
    ],
)
@pytest.mark.parametrize('kind', [dict, lambda cfg: Config(dict(peft=cfg)).peft])
def test_what_only_a_runner_reads_is_refused_in_python(option, remedy, kind):
    with pytest.raises(UserError, match=f'{next(iter(option))}=.*PEFTInjectHook alone.*{remedy}'):
        inject(Detector(), kind(dict(method=lora(), **option)))
    inject(Detector(), PEFTConfig.parse(dict(method=lora(), **option)))  # as the hook does


def test_a_file_of_before_is_read_whatever_its_options_do(tmp_path):
    model = Detector()
    inject(
        model,
        dict(method=lora(attention=['q'], rank_pattern={'bbox_head': 4})),
        check_options=False,
    )
    save_adapter(model, str(tmp_path / 'a'))
    load_adapter(Detector(), str(tmp_path / 'a'))
