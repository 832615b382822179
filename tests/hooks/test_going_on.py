"""Training that goes on from what an earlier one has left, under another config."""

import copy
import shutil

import pytest
import torch
from mmengine.config import Config
from stock_runs import LORA
from torch import nn

from mmadapt import UserError, inject, save_adapter
from mmadapt.files import (
    AdapterRecord,
    BaseRecord,
    fingerprint,
    frozen_tensors,
    read_adapter,
    read_checkpoint,
    restore,
    stored_keys,
)
from mmadapt.hooks.going_on import find_misfits, tensors_anew
from mmadapt.hooks.rehearsal import rehearse
from mmadapt.peft import require_state

ONE = {
    'model.bbox_head.num_classes': 1,
    'optim_wrapper.optimizer.lr': 0.0,
    **{
        f'{split}_dataloader.dataset.metainfo.classes': ('dot',)
        for split in ('train', 'val', 'test')
    },
}


@pytest.mark.parametrize('kind', ['checkpoint', 'folder'])
def test_with_other_classes_the_layers_that_do_not_fit_train_from_the_start(
    kind, start, finished, bases, tmp_path, monkeypatch
):
    path = str(finished / 'run' / 'epoch_1.pth')
    folder = str(finished / 'run' / 'adapter')
    stored = (
        read_checkpoint(path)['state_dict'] if kind == 'checkpoint' else read_adapter(folder)[1]
    )
    said = []
    monkeypatch.setattr('mmadapt.hooks.going_on.say', said.append)
    model = (
        start(**ONE, base=path).model
        if kind == 'checkpoint'
        else start({**LORA, 'adapter': folder}, **ONE).model
    )
    assert (folder if kind == 'folder' else path) in said[0]
    assert '6 tensors have another shape than in this model, first bbox_head.rtm_cls' in said[0]
    state = model.state_dict()
    fitting = {key for key, value in stored.items() if value.shape == state[key].shape}
    assert {key for key in stored if key not in fitting} == {
        f'bbox_head.rtm_cls.{level}.{name}' for level in range(3) for name in ('weight', 'bias')
    }
    moves = ('running_mean', 'running_var', 'num_batches_tracked')  # in the head, which trains
    assert all(torch.equal(state[key], stored[key]) for key in fitting if not key.endswith(moves))
    assert model.bbox_head.rtm_cls[0].weight.requires_grad
    base = read_checkpoint(str(bases('rtmdet')))['state_dict']
    assert torch.equal(state['backbone.stem.0.conv.weight'], base['backbone.stem.0.conv.weight'])
    own = str(tmp_path / 'run' / 'epoch_1.pth')  # which holds all that it needs
    tested = start(mode='test', base=own, **ONE).model.state_dict()
    assert all(torch.equal(tested[k], v) for k, v in read_checkpoint(own)['state_dict'].items())


def test_an_adapted_layer_that_does_not_fit_trains_fully_instead(build_detector):
    """The base predicts as many classes as the first training; the second predicts others."""
    peft = dict(method=dict(type='LoRA', r=2), head='adapt')
    first = build_detector(num_classes=5)
    base = copy.deepcopy(first.state_dict())
    inject(first, peft)
    assert 'bbox_head.rtm_cls.0' in require_state(first).adapted
    keys = stored_keys(first)
    stored = {
        key: torch.randn_like(value) if 'lora' in key else value
        for key, value in first.state_dict().items()
        if key in keys
    }
    record = AdapterRecord.of(
        first, BaseRecord(fingerprint=fingerprint(frozen_tensors(first, keys)))
    )
    model = build_detector(num_classes=3)
    misfits = find_misfits(model, stored, base, 'FILE')
    assert len(misfits) == 6
    inject(model, peft, not_loaded=misfits, weights_follow=True)
    with pytest.raises(UserError, match='differ in what is adapted or trained, first in bbox_head'):
        record.check_same(require_state(model), 'FILE')
    record.check_same(require_state(model), 'FILE', misfits)
    anew = tensors_anew(model, stored, misfits)
    own = model.state_dict()
    state = restore(model, record, stored, base, 'FILE', anew)
    assert state.keys() == own.keys()
    assert all(torch.equal(state[key], own[key]) for key in misfits)
    assert all(torch.equal(state[key], value) for key, value in stored.items() if key not in anew)
    assert all(torch.equal(state[k], v) for k, v in base.items() if k not in {*stored, *anew})
    base['backbone.stem.0.conv.weight'] += 1
    with pytest.raises(UserError, match='FILE was trained on other base weights'):
        restore(model, record, stored, base, 'FILE', anew)


def test_a_layer_of_several_names_that_does_not_fit_trains_too(build_detector):
    """Deformable DETR has one prediction layer for all layers of its decoder."""
    name = 'deformable_detr/deformable-detr_r50_16xb2-50e_coco.py'
    peft = dict(method=dict(type='LoRA', r=2), head='adapt')
    first, model = build_detector(name, 5), build_detector(name, 3)
    inject(first, peft)
    stored = {key: first.state_dict()[key] for key in stored_keys(first)}
    base = build_detector(name, 5).state_dict()
    misfits = find_misfits(model, stored, base, 'FILE')
    assert len(misfits) == 12
    inject(model, peft, not_loaded=misfits, weights_follow=True)
    assert 'bbox_head.cls_branches.0' not in require_state(model).adapted
    assert 'bbox_head.cls_branches.0' in require_state(first).adapted


def test_so_it_does_in_a_run(start, bases, tmp_path):
    """After a checkpoint and after a folder; the layers had adapters in the first training."""
    adapts, base = {**LORA, 'head': 'adapt'}, bases('rtmdet', 2)
    layer = 'bbox_head.rtm_cls.0'
    assert layer in require_state(start(adapts, base=base).model).adapted
    (tmp_path / 'run').rename(tmp_path / 'first')
    for changes in (
        dict(peft=adapts, base=tmp_path / 'first' / 'epoch_1.pth'),
        dict(peft={**adapts, 'adapter': str(tmp_path / 'first' / 'adapter')}, base=base),
    ):
        model = start(**changes, **ONE).model
        adapted = require_state(model).adapted
        assert layer not in adapted
        assert 'bbox_head.rtm_reg.0' in adapted
        assert model.get_submodule(layer).weight.requires_grad


def test_most_of_a_model_in_other_shapes_is_another_model(build_detector):
    model = build_detector()
    stored = {key: value[:1] for key, value in model.state_dict().items() if value.dim()}
    with pytest.raises(UserError, match='FILE: .* tensors have another shape .*another model'):
        find_misfits(model, stored, {}, 'FILE')


def test_another_rank_is_refused_with_the_way_to_go_on(start, finished):
    path = str(finished / 'run' / 'epoch_1.pth')
    with pytest.raises(UserError) as error:
        start(dict(method=dict(type='LoRA', r=8, alpha=8)), base=path)
    assert (
        f'merge it first, mmadapt merge CONFIG {path} merged.pth, and start '
        'from load_from=merged.pth' in str(error.value)
    )
    folder = str(finished / 'run' / 'adapter')
    with pytest.raises(UserError) as error:
        start(dict(method=dict(type='LoRA', r=8, alpha=8), adapter=folder))
    assert f'merge it first, mmadapt merge CONFIG {folder}' in str(error.value)


def test_a_checkpoint_of_full_fine_tuning_is_a_base_like_any_other(start, tmp_path, monkeypatch):
    full = dict(method=None, targets='all', head='train', norm='train')
    still, said = {'optim_wrapper.optimizer.lr': 0.0}, []
    with monkeypatch.context() as patch:
        patch.setattr('mmadapt.hooks.checkpoint_hook.print_log', lambda line, *_: said.append(line))
        start(full)
    assert said == [f'trained weights: {tmp_path}/run/trained']  # and no adapter
    assert (tmp_path / 'run' / 'trained').is_dir()
    path = str((tmp_path / 'run' / 'epoch_1.pth').rename(tmp_path / 'full.pth'))
    stored = read_checkpoint(path)['state_dict']
    for peft in (LORA, full):
        runner = start(peft, base=path, **still)
        cfg = Config.fromfile(tmp_path / 'config.py')
        cfg.work_dir = str(tmp_path / 'run')
        rehearse(cfg, trains=True)
        state = runner.model.state_dict()
        assert all(
            torch.equal(state[key], value)
            for key, value in stored.items()
            if key.endswith('.weight')
        )
    record = read_checkpoint(str(tmp_path / 'run' / 'epoch_1.pth'))['mmadapt']
    assert record['base']['load_from'] == path
    start(LORA, base=path, **still)
    own = str(tmp_path / 'run' / 'epoch_1.pth')
    tested = start(mode='test', base=own).model.state_dict()
    assert all(
        torch.equal(tested[key], value) for key, value in stored.items() if key.endswith('.weight')
    )


@pytest.mark.parametrize('mode', ['train', 'test'])
def test_an_adapter_beside_a_checkpoint_that_has_one_is_refused(mode, start, finished):
    path = str(finished / 'run' / 'epoch_1.pth')
    with pytest.raises(
        UserError,
        match='peft.adapter=FOLDER is not used: .*epoch_1.pth holds an '
        'adapter of its own.*rtmdet.pth',
    ):
        start({**LORA, 'adapter': 'FOLDER'}, mode=mode, base=path)


def test_the_adapter_that_a_training_started_from_stays_in_its_config(
    start, finished, tmp_path, monkeypatch
):
    """Its checkpoints are tested and resumed with it; in older ones it is not recorded."""
    peft = {**LORA, 'adapter': str(finished / 'run' / 'adapter')}
    start(peft)
    path = tmp_path / 'run' / 'epoch_1.pth'
    state = start(peft, mode='test', base=str(path)).model.state_dict()
    checkpoint = torch.load(path)
    assert all(torch.equal(state[k], v) for k, v in checkpoint['state_dict'].items())
    start(peft, resume=True, load_from=None)
    del checkpoint['mmadapt']['started_from']
    torch.save(checkpoint, tmp_path / 'old.pth')
    said = []
    monkeypatch.setattr('mmadapt.hooks.going_on.warn', said.append)
    start(peft, mode='test', base=str(tmp_path / 'old.pth'))
    assert 'is not used' in said[0]


def test_an_adapter_of_another_model_is_called_that(start, tmp_path):
    other = nn.ModuleDict(dict(body=nn.Linear(3, 4), bbox_head=nn.Linear(4, 2)))
    inject(other, dict(method=dict(type='LoRA', r=4, alpha=8)))
    save_adapter(other, str(tmp_path / 'other'))
    with pytest.raises(
        UserError, match='adapts body, which this model does not have .*belongs to another model'
    ):
        start({**LORA, 'adapter': str(tmp_path / 'other')})


def test_an_adapter_is_no_checkpoint_to_start_from(start, finished):
    with pytest.raises(
        UserError,
        match='adapter is an adapter and holds no base: load_from takes '
        'the checkpoint of its base, .*rtmdet.pth',
    ):
        start(base=str(finished / 'run' / 'adapter'))


def test_a_run_without_optimizer_state_says_why_it_cannot_be_resumed(start, tmp_path):
    start(**{'default_hooks.checkpoint.save_optimizer': False})
    path = str(tmp_path / 'run' / 'epoch_1.pth')
    with pytest.raises(
        UserError,
        match='epoch_1.pth holds no optimizer and cannot be resumed: it '
        'was written with default_hooks.checkpoint.save_optimizer='
        'False. Starting from it is load_from=',
    ):
        start(resume=True, load_from=None)
    best = shutil.copy(path, tmp_path / 'best_coco_epoch_1.pth')
    with pytest.raises(UserError, match='best_.*pth never does; resume epoch_k.pth'):
        start(resume=True, base=str(best))
