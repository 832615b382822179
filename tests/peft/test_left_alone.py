"""What somebody has set by hand in a model is the same behind every function that changes it.

Modes, ``requires_grad``, hooks and buffers. The truth is what was set, nothing of ours.
"""

import copy

import pytest
import torch
from torch import nn

from mmadapt import (
    UserError,
    export_hf,
    inject,
    load_adapter,
    merge,
    remove,
    save_adapter,
    set_adapter,
    unmerge,
)
from mmadapt.norms import FrozenStatistics
from mmadapt.peft import Snapshot, adapter_names, merged_state_dict, quantize_base

LORA, SSF = dict(type='LoRA', r=2), dict(type='SSF')
# One freezes the statistics of norms, one lets them move, one adapts norms.
PEFT = {
    'frozen': dict(method=LORA, head='adapt'),
    'moving': dict(method=LORA, norm='stats', head='adapt'),
    'SSF': dict(method=SSF, head='adapt'),
    'full': dict(method=None, targets='all'),
}
# Parts that are put into eval mode, and everything inside them.
BY_HAND = ['backbone', 'bbox_head.1']
X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5)
        )
        self.neck = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
        self.bbox_head = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
        self.neck[0].bias.requires_grad_(False)
        self.neck[1].running_mean += 1

    def forward(self, x):
        return self.bbox_head(self.neck(self.backbone(x)))


def by_hand(model):
    """Put parts of a model in training into eval mode, and return the mode of each module."""
    model.train()
    for name in BY_HAND:
        model.get_submodule(name).eval()
    return {name: not name.startswith(tuple(BY_HAND)) for name, _ in model.named_modules()}


def assert_modes(model, wanted):
    assert {name: m.training for name, m in model.named_modules()} == {
        name: wanted[name] and not isinstance(m, FrozenStatistics)
        for name, m in model.named_modules()
    }


def photograph(model):
    """Everything about a model, but for where its adapters are kept."""
    return (
        [
            (
                m,
                type(m),
                m.training,
                {
                    k: v
                    for k, v in vars(m).items()
                    if k not in ('_parameters', '_buffers', '_mmadapt')
                },
            )
            for m in model.modules()
        ],
        [
            (key, t, t.requires_grad, t.detach().clone())
            for key, t in model.state_dict(keep_vars=True).items()
        ],
    )


def assert_same(model, before):
    modules, tensors = photograph(model)
    for (_, *now), (module, *then) in zip(modules, before[0], strict=True):
        assert now[:2] == then[:2], module
        assert now[2].keys() == then[2].keys(), module
        assert all(now[2][key] is then[2][key] or now[2][key] == then[2][key] for key in now[2])
    for (key, tensor, grad, value), (name, known, flag, kept) in zip(
        tensors, before[1], strict=True
    ):
        assert (key, grad) == (name, flag)
        assert tensor is known, key
        assert torch.equal(value, kept), key


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    model, path = Detector(), str(tmp_path_factory.mktemp('adapter') / 'a')
    inject(model, dict(method=SSF, head='adapt'))
    save_adapter(model, path)
    return path


def fails(function, *args, **kwargs):
    with pytest.raises(UserError):
        function(*args, **kwargs)


def fails_late(model):
    calls = []

    class Model(Detector):
        def train(self, mode=True):  # freezes what is to train, which is noticed at the very end
            super().train(mode)
            calls.append(mode)
            self.neck[0].weight.requires_grad_(len(calls) < 2)
            return self

    model.__class__ = Model
    fails(inject, model, PEFT['full'], name='new')
    assert len(calls) > 1
    model.__class__ = Detector


# Behind these the model is what it was before, down to its objects.
ROUND_TRIPS = {
    'off and on': lambda model, folder: (set_adapter(model, None), set_adapter(model, 'one')),
    'another and back': lambda model, folder: (
        inject(model, PEFT['moving'], name='new'),
        set_adapter(model, 'one'),
        remove(model, 'new'),
    ),
    'merged and unmerged': lambda model, folder: (merge(model), unmerge(model)),
    'an injection that fails': lambda model, folder: fails(
        inject, model, dict(method=LORA, targets=['nothing']), name='new'
    ),
    'one that fails late': lambda model, folder: fails_late(model),
    'a name that is taken': lambda model, folder: fails(inject, model, PEFT['SSF'], name='one'),
    'loading what does not fit': lambda model, folder: fails(load_adapter, model, folder, 'one'),
    'loading what is no folder': lambda model, folder: fails(load_adapter, model, 'none', 'new'),
    'loading and removing': lambda model, folder: (
        load_adapter(model, folder, 'new'),
        set_adapter(model, 'one'),
        remove(model, 'new'),
    ),
    'saving': lambda model, folder: save_adapter(model, folder + '_again'),
    'merging beside it': lambda model, folder: merged_state_dict(model),
    'what has no quant': lambda model, folder: quantize_base(model),
    'asking for changes': lambda model, folder: Snapshot(model).changes(),
}
# Behind these it is another model.
CHANGES = {
    'off': lambda model, folder: set_adapter(model, None),
    'removed': lambda model, folder: remove(model),
    'removed while merged': lambda model, folder: (merge(model), remove(model)),
    'merged': lambda model, folder: merge(model),
    **{
        f'another: {kind}': lambda model, folder, peft=peft: inject(model, peft, name='new')
        for kind, peft in PEFT.items()
    },
    'loaded': lambda model, folder: load_adapter(model, folder, 'new'),
}


@pytest.mark.parametrize('kind', PEFT)
@pytest.mark.parametrize('name', ROUND_TRIPS)
def test_there_and_back_leaves_everything(name, kind, folder):
    if kind == 'SSF' and name == 'loading what does not fit':
        folder = 'none'
    model = Detector()
    inject(model, PEFT[kind], name='one')
    modes, called = by_hand(model), []
    model.neck.register_forward_hook(lambda *_: called.append('neck'))
    model.neck[1].register_forward_pre_hook(lambda *_: called.append('norm'))
    next(model.bbox_head.parameters()).requires_grad_(True)
    before = photograph(model)
    ROUND_TRIPS[name](model, folder)
    assert_same(model, before)
    assert_modes(model, modes)
    model(X)
    assert sorted(called) == ['neck', 'norm']


@pytest.mark.parametrize('kind', PEFT)
@pytest.mark.parametrize('name', CHANGES)
def test_modes_set_by_hand_stay(name, kind, folder):
    model = Detector()
    inject(model, PEFT[kind], name='one')
    modes = by_hand(model)
    CHANGES[name](model, folder)
    assert_modes(model, modes)
    if adapter_names(model):
        remove(model)
    assert_modes(model, modes)
    assert not any(isinstance(m, FrozenStatistics) for m in model.modules())


@pytest.mark.parametrize('kind', PEFT)
def test_the_base_has_its_own_flags_modes_and_buffers_again(kind):
    stock = Detector()
    by_hand(stock)
    stock.backbone[0].bias.requires_grad_(False)
    before = photograph(stock)
    inject(stock, PEFT[kind], name='one')
    stock.train()
    by_hand(stock)
    remove(stock)
    assert_same(stock, before)


def test_a_first_injection_keeps_modes_too():
    model = Detector()
    modes = by_hand(model)
    inject(model, PEFT['frozen'])
    assert_modes(model, modes)
    model.eval()
    model.neck.train()
    remove(model)
    assert [name for name, m in model.named_modules() if m.training] == ['neck', 'neck.0', 'neck.1']


def test_asking_what_has_changed_changes_nothing():
    model = Detector()
    before = Snapshot(model)
    kept = model.bbox_head[2].weight
    with torch.no_grad():
        model.bbox_head[2].weight = nn.Parameter(kept.clone())
    kept.requires_grad_(False)
    changes = before.changes()
    assert kept.requires_grad is False
    assert changes
    before.restore()
    assert kept.requires_grad
    assert model.bbox_head[2].weight is kept


def test_unmerging_takes_back_statistics_that_have_moved_meanwhile():
    model = Detector()
    inject(model, PEFT['frozen'])
    model.train()
    before = {key: b.clone() for key, b in model.named_buffers()}
    merge(model)
    model(X)
    assert not torch.equal(model.neck[1].running_mean, before['neck.1.running_mean'])
    unmerge(model)
    assert all(torch.equal(b, before[key]) for key, b in model.named_buffers())


@pytest.mark.parametrize('kind', ['frozen', 'SSF'])
def test_a_model_that_was_moved_while_merged_unmerges(kind):
    model = Detector().eval()
    inject(model, PEFT[kind])
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if 'lora' in name or 'ssf' in name:
                parameter += 0.1
    wanted = copy.deepcopy(model).double()(X.double())
    merge(model)
    model.double()
    unmerge(model)
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    torch.testing.assert_close(model(X.double()), wanted, rtol=1e-6, atol=1e-6)


def test_exporting_leaves_everything(tmp_path):
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    inject(model, dict(method=LORA, head='adapt'))
    model.train()
    model[0].eval()
    before = photograph(model)
    export_hf(model, str(tmp_path / 'exported'))
    assert_same(model, before)
