"""Adapter folders: round trips of every method and kind of layer, and what is refused."""

import copy
import os

import pytest
import torch
from layer_zoo import KINDS, NORMS, call
from safetensors.torch import load_file, save_file
from torch import nn

from mmadapt import UserError, export_hf, inject, load_adapter, merge, remove, save_adapter
from mmadapt.adapters import AdapterLayer
from mmadapt.files import BaseRecord, read_adapter
from mmadapt.peft import get_state

LORA = dict(type='LoRA', r=2, alpha=6)
CONFIG, WEIGHTS = 'adapter_config.json', 'adapter_model.safetensors'


class Detector(nn.Module):
    def __init__(self, seed=0, channels=4, classes=2):
        super().__init__()
        torch.manual_seed(seed)
        self.backbone = nn.Sequential(
            nn.Conv2d(3, channels, 3),
            nn.BatchNorm2d(channels),
            nn.Conv2d(channels, 4, 3, groups=2, stride=2),
        )
        self.neck = nn.Linear(4, 4)
        self.bbox_head = nn.Conv2d(4, classes, 1)

    def forward(self, x):
        x = self.neck(self.backbone(x).permute(0, 2, 3, 1))
        return self.bbox_head(x.permute(0, 3, 1, 2))


X = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))


def train(model, steps=2):
    """Change whatever training changes."""
    torch.manual_seed(1)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        model.train()(torch.randn_like(X)).square().sum().backward()
        optimizer.step()
    return model.eval()


@pytest.fixture
def folder(tmp_path):
    """An adapter folder of a trained Detector of seed 0."""
    model = Detector()
    inject(model, dict(method=LORA))
    save_adapter(train(model), str(tmp_path / 'adapter'))
    return tmp_path / 'adapter'


@pytest.mark.parametrize(
    'peft',
    [
        {},
        dict(norm='stats'),
        dict(norm='train'),
        dict(norm='affine'),
        dict(head='adapt'),
        dict(head='freeze'),
        dict(targets=['neck', 'backbone.2']),
        dict(method=None),
        dict(method=None, targets='all', norm='train'),
        dict(method=dict(type='LoRA', r=2, dropout=0.3)),
        dict(method=dict(type='LoRA', r=2, freeze_A=True)),
        dict(method=dict(type='DoRA', r=2, freeze_A=True), head='adapt'),
    ],
)
def test_a_trained_adapter_on_a_fresh_base_computes_bit_for_bit_the_same(tmp_path, peft):
    model = Detector()
    inject(model, {'method': LORA, **peft})
    before = copy.deepcopy(model).eval()(X)
    wanted = train(model)(X)
    assert (wanted - before).abs().max() > 1e-4
    save_adapter(model, str(tmp_path / 'adapter'))
    fresh = Detector().eval()
    load_adapter(fresh, str(tmp_path / 'adapter'))
    assert torch.equal(fresh(X), wanted)
    again = Detector().eval()
    inject(again, {'method': LORA, **peft})
    load_adapter(again, str(tmp_path / 'adapter'))
    assert torch.equal(again(X), wanted)


class Odd(nn.Module):
    """One layer of the zoo."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.layer, self.args = kind.make()
        self.layer.requires_grad_(True)

    def forward(self):
        return call(self.layer, self.args, self.kind)


METHODS = dict(
    LoRA=LORA,
    DoRA=dict(type='DoRA', r=2, alpha=6),
    SSF=dict(type='SSF'),
    PiSSA=dict(type='LoRA', r=2, alpha=6, init='pissa'),
)


@pytest.mark.parametrize(
    ('kind', 'method'),
    [
        (kind, method)
        for kind in KINDS
        for method in METHODS
        # Without a bias nothing is left of a scale once the weight is standardized.
        if (method == 'SSF' or kind not in NORMS)
        and not (method == 'SSF' and kind in ('WS, grouped', 'StdConvSame'))
    ],
)
def test_an_adapter_of_every_method_on_every_kind_of_layer_is_the_same_after_a_round_trip(
    tmp_path, kind, method
):
    cfg = dict(method={**METHODS[method], **KINDS[kind].options}, targets=['layer'])
    model = Odd(KINDS[kind]).eval()
    inject(model, cfg)
    before = model()
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.3)
    wanted = model()
    assert not torch.allclose(wanted, before, atol=1e-4)
    save_adapter(model, str(tmp_path / 'a'))
    fresh = Odd(KINDS[kind]).eval()
    load_adapter(fresh, str(tmp_path / 'a'))
    assert torch.equal(fresh(), wanted)
    save_adapter(fresh, str(tmp_path / 'b'))
    for name in (CONFIG, WEIGHTS):
        assert (tmp_path / 'a' / name).read_bytes() == (tmp_path / 'b' / name).read_bytes()


def test_what_pissa_started_from_is_in_the_folder_and_not_computed_anew(tmp_path, monkeypatch):
    model = Detector()
    inject(model, dict(method=METHODS['PiSSA']))
    wanted = train(model)(X)
    save_adapter(model, str(tmp_path / 'a'))
    svd = torch.linalg.svd

    def other_signs(*args, **kwargs):  # as another library or device may choose them
        left, values, right = svd(*args, **kwargs)
        return -left, values, -right

    monkeypatch.setattr(torch.linalg, 'svd', other_signs)
    fresh = Detector().eval()
    load_adapter(fresh, str(tmp_path / 'a'))
    assert torch.equal(fresh(X), wanted)


@pytest.mark.parametrize('cls', [nn.Linear, nn.Conv2d])
def test_a_model_that_is_one_layer_has_an_adapter_of_its_own(tmp_path, cls):
    def build():
        torch.manual_seed(0)
        return cls(3, 4, *([1] if cls is nn.Conv2d else []))

    model, x = build(), torch.randn(3, 3, 3)
    inject(model, dict(method=LORA))
    with torch.no_grad():
        model.lora_B.normal_()
    save_adapter(model, str(tmp_path / 'a'))
    assert set(load_file(tmp_path / 'a' / WEIGHTS)) == {'mmadapt.lora_A', 'mmadapt.lora_B'}
    fresh = build()
    load_adapter(fresh, str(tmp_path / 'a'))
    assert torch.equal(fresh(x), model(x))
    assert not torch.equal(fresh(x), build()(x))
    with pytest.raises(UserError, match=r'\(the model\): it is the model itself'):
        export_hf(model, str(tmp_path / 'b'))


def test_an_adapter_of_a_stock_detector_computes_bit_for_bit_the_same(build_detector, tmp_path):
    model, x = build_detector().eval(), torch.rand(1, 3, 64, 64)
    inject(model, dict(method=dict(type='LoRA', r=4), head='adapt'))
    torch.manual_seed(0)
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, AdapterLayer):
                layer.lora_B.normal_(std=0.05)
        model.bbox_head.cls_convs[0][0].conv.lora_A.normal_()  # shared by three levels
        wanted = model(x, mode='tensor')
    save_adapter(model, str(tmp_path / 'adapter'), class_names=['face', 'mask'])
    record, _ = read_adapter(str(tmp_path / 'adapter'))
    assert record.class_names == ['face', 'mask']
    fresh = build_detector().eval()
    load_adapter(fresh, str(tmp_path / 'adapter'))
    with torch.no_grad():
        loaded = fresh(x, mode='tensor')
    for branch, branch_wanted in zip(loaded, wanted, strict=True):
        for level, level_wanted in zip(branch, branch_wanted, strict=True):
            assert torch.equal(level, level_wanted)
    with pytest.raises(UserError, match='adapter'):
        load_adapter(build_detector(num_classes=5), str(tmp_path / 'adapter'))
    with pytest.raises(UserError, match='it belongs to another model'):
        load_adapter(
            build_detector('faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'), str(tmp_path / 'adapter')
        )


def test_a_folder_holds_two_files_and_no_frozen_tensor(folder):
    assert sorted(os.listdir(folder)) == [CONFIG, WEIGHTS]
    keys = set(load_file(folder / WEIGHTS))
    adapters = {
        f'base_model.model.{layer}.lora_{x}.weight'
        for layer in ('backbone.0', 'neck')
        for x in 'AB'
    }
    trained = {
        f'mmadapt.{layer}.{x}' for layer in ('backbone.2', 'bbox_head') for x in ('weight', 'bias')
    }
    assert keys == adapters | trained


def test_saving_twice_writes_the_same_bytes(folder, tmp_path):
    model = Detector()
    load_adapter(model, str(folder))
    save_adapter(model, str(tmp_path / 'again'))
    for name in (CONFIG, WEIGHTS):
        assert (tmp_path / 'again' / name).read_bytes() == (folder / name).read_bytes()


def test_an_average_can_be_written_in_place_of_the_models_own_values(folder, tmp_path):
    model = Detector()
    load_adapter(model, str(folder))
    average = {
        key: value + 1 if value.is_floating_point() else value
        for key, value in model.state_dict().items()
    }
    save_adapter(model, str(tmp_path / 'average'), state_dict=average)
    own, averaged = load_file(folder / WEIGHTS), load_file(tmp_path / 'average' / WEIGHTS)
    assert all(torch.equal(averaged[key], own[key] + 1) for key in own)


def test_tensors_that_no_base_provides_are_in_the_folder(tmp_path):
    everything = [key for key in Detector().state_dict() if 'num_batches' not in key]
    model = Detector()
    inject(model, dict(method=LORA, allow_random_base=True))
    save_adapter(train(model), str(tmp_path / 'a'), BaseRecord(not_in_base=everything))
    other = Detector(seed=7).eval()
    load_adapter(other, str(tmp_path / 'a'))
    assert torch.equal(other(X), model(X))


def other_base():
    return Detector(seed=7)


def one_bit_off():
    model = Detector()
    with torch.no_grad():
        model.backbone[0].weight[0, 0, 0, 0] = torch.nextafter(
            model.backbone[0].weight[0, 0, 0, 0], torch.tensor(9.0)
        )
    return model


def other_rank():
    model = Detector()
    inject(model, dict(method=dict(type='LoRA', r=3, alpha=6)))
    return model


def merged():
    model = Detector()
    inject(model, dict(method=LORA))
    merge(model)
    return model


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (other_base, 'was trained on other base weights than this model holds'),
        (one_bit_off, 'was trained on other base weights than this model holds'),
        (
            lambda: Detector(channels=8),
            r'backbone.0.lora_B of shape \(4, 2, 1, 1\), the model has \(8',
        ),
        (other_rank, "was trained with another `peft`; method: .*'r': 2.* there, .*'r': 3"),
        (merged, 'an adapter is merged into this model; call mmadapt.unmerge first'),
        (
            lambda: nn.Sequential(nn.Linear(3, 3)),
            'adapts backbone.0, which this model does not have',
        ),
    ],
)
@pytest.mark.parametrize('training', [True, False])
def test_a_model_that_does_not_fit_is_refused_and_stays_what_it_was(
    folder, make, message, training
):
    model = make().train(training)
    kinds = [(type(m), m.training) for m in model.modules()]
    grads = [p.requires_grad for p in model.parameters()]
    state = {key: value.clone() for key, value in model.state_dict().items()}
    adapted = get_state(model) is not None
    with pytest.raises(UserError, match=message) as caught:
        load_adapter(model, str(folder))
    assert str(folder) in str(caught.value) or make is merged
    assert kinds == [(type(m), m.training) for m in model.modules()]
    assert grads == [p.requires_grad for p in model.parameters()]
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    assert (get_state(model) is not None) is adapted


def test_a_wrong_base_is_told_where_the_right_one_was(tmp_path):
    model = Detector()
    inject(model, dict(method=LORA))
    save_adapter(model, str(tmp_path / 'a'), BaseRecord(load_from='/models/base.pth'))
    with pytest.raises(UserError, match=r'\(it was trained on /models/base.pth\)'):
        load_adapter(other_base(), str(tmp_path / 'a'))


def truncate(folder):
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[:-7])


def edit(folder, change):
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (truncate, f'{WEIGHTS} is damaged or only half of a file'),
        (lambda f: (f / WEIGHTS).write_bytes(b''), f'{WEIGHTS} is damaged or only half of a file'),
        (lambda f: (f / WEIGHTS).unlink(), f'is not an adapter folder: it has no {WEIGHTS}'),
        (lambda f: (f / CONFIG).unlink(), f'is not an adapter folder: it has no {CONFIG}'),
        (lambda f: (f / CONFIG).write_text('{"r": 2,'), f'{CONFIG} is damaged'),
        (lambda f: (f / CONFIG).write_text('[]'), f'{CONFIG} is damaged: it holds a list'),
        (lambda f: (f / CONFIG).write_bytes(b'\xff\xfe\x00'), f'{CONFIG} is damaged'),
        (
            lambda f: (f / CONFIG).write_text('{"mmadapt": 3}'),
            'description of the adapter is damaged',
        ),
        (
            lambda f: edit(f, lambda t: t.pop('base_model.model.neck.lora_A.weight')),
            'lacks neck.lora_A and 0 more tensors',
        ),
        (
            lambda f: edit(f, lambda t: t.pop('mmadapt.bbox_head.bias')),
            'lacks bbox_head.bias and 0 more tensors',
        ),
        (
            lambda f: edit(f, lambda t: t.update({'mmadapt.neck.extra': torch.ones(1)})),
            'holds neck.extra and 0 more tensors that this model does not have',
        ),
        (
            lambda f: edit(f, lambda t: t.update({'neck.weight': torch.ones(1)})),
            'holds neck.weight, which has no meaning here',
        ),
        (
            lambda f: edit(f, lambda t: t.update({'mmadapt.': torch.ones(1)})),
            'holds mmadapt., which has no meaning here',
        ),
        (
            lambda f: edit(
                f, lambda t: t.update({'base_model.model.bbox_head.weight': torch.ones(1)})
            ),
            'bbox_head.weight, which has no m',
        ),
        (
            lambda f: edit(f, lambda t: t.update({'mmadapt.neck.lora_A': torch.ones(2, 4)})),
            'holds neck.lora_A under two names, one of them ',
        ),
    ],
)
def test_a_damaged_folder_is_refused_and_the_model_stays_what_it_was(folder, damage, message):
    damage(folder)
    model = Detector()
    with pytest.raises(UserError, match=message):
        load_adapter(model, str(folder))
    assert get_state(model) is None
    assert [type(m) for m in model.modules()] == [type(m) for m in Detector().modules()]
    assert all(p.requires_grad for p in model.parameters())


def test_layers_of_an_older_folder_may_have_the_names_that_only_others_have_now(folder):
    """A grouped convolution once had the names that PEFT has for others."""
    model = Detector()
    inject(model, dict(method=LORA, targets=['backbone.2'], head='freeze'))
    wanted = train(model)(X)
    save_adapter(model, str(folder))
    edit(
        folder,
        lambda t: [
            t.update(
                {f'base_model.model.backbone.2.{name}.weight': t.pop(f'mmadapt.backbone.2.{name}')}
            )
            for name in ('lora_A', 'lora_B')
        ],
    )
    fresh = Detector().eval()
    load_adapter(fresh, str(folder))
    assert torch.equal(fresh(X), wanted)


def test_a_folder_that_is_not_there_is_called_no_adapter_folder(tmp_path):
    with pytest.raises(UserError, match='nowhere is not an adapter folder'):
        load_adapter(Detector(), str(tmp_path / 'nowhere'))


def test_saving_needs_an_adapted_model_that_is_not_merged(tmp_path):
    with pytest.raises(UserError, match='this Detector is not adapted'):
        save_adapter(Detector(), str(tmp_path / 'a'))
    with pytest.raises(UserError, match='the adapter is merged; call mmadapt.unmerge before'):
        save_adapter(merged(), str(tmp_path / 'a'))
    assert os.listdir(tmp_path) == []


def test_an_older_adapter_is_replaced_and_nothing_else_ever_is(folder, tmp_path):
    model = Detector()
    load_adapter(model, str(folder))
    save_adapter(model, str(folder))
    (tmp_path / 'empty').mkdir()
    save_adapter(model, str(tmp_path / 'empty'))
    (tmp_path / 'work').mkdir()
    (tmp_path / 'work' / 'thesis.txt').write_text('x')
    (tmp_path / 'file').write_text('x')
    for taken in ('work', 'file'):
        with pytest.raises(UserError, match=f'{taken} exists and is no adapter; choose another'):
            save_adapter(model, str(tmp_path / taken))
    assert os.listdir(tmp_path / 'work') == ['thesis.txt']


def test_an_adapter_can_be_removed_and_another_loaded(folder):
    model = Detector().eval()
    base = model(X)
    load_adapter(model, str(folder))
    with torch.no_grad():
        for layer in (model.backbone[2], model.bbox_head):  # trained fully: they stay
            layer.weight.copy_(
                Detector().get_parameter(
                    'bbox_head.weight' if layer is model.bbox_head else 'backbone.2.weight'
                )
            )
            layer.bias.copy_(
                Detector().get_parameter(
                    'bbox_head.bias' if layer is model.bbox_head else 'backbone.2.bias'
                )
            )
    remove(model)
    assert torch.equal(model(X), base)
    load_adapter(model, str(folder))
    fresh = Detector().eval()
    load_adapter(fresh, str(folder))
    assert torch.equal(model(X), fresh(X))
