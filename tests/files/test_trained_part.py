"""Checkpoints that hold only what was trained: who may read them, and who is refused."""

import copy
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from mmengine.runner import load_checkpoint
from mmengine.runner.checkpoint import _load_checkpoint, _load_checkpoint_with_prefix
from torch import nn

from mmadapt import UserError, inject
from mmadapt.files import BaseRecord, base_state_dict, read_checkpoint, write_sharded
from mmadapt.files.trained_part import NOTE, guard
from mmadapt.hooks import PEFTCheckpointHook
from mmadapt.peft import PEFTConfig

LORA = dict(method=dict(type='LoRA', r=2), head='freeze')
RUNNER = SimpleNamespace(cfg={}, train_dataloader=SimpleNamespace(dataset=None))
STRANGER = """
import os, sys, torch
import mmengine.runner
for everything in '01':
    assert 'mmadapt' not in sys.modules
    os.environ['TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'] = everything
    try:
        mmengine.runner.load_checkpoint(torch.nn.Linear(2, 2), sys.argv[1])
    except Exception as error:
        print(error)
"""


def detector():
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    return nn.ModuleDict(dict(backbone=backbone, bbox_head=nn.Linear(4, 2)))


def written(path, peft, base='base.pth'):
    """Write what the hook leaves of a checkpoint, with a moving average."""
    model, config = detector(), PEFTConfig.parse(peft)
    inject(model, config)
    hook = PEFTCheckpointHook(model, config, BaseRecord(load_from=base))
    hook._note_base()
    checkpoint = dict(
        meta={},
        state_dict=model.state_dict(),
        ema_state_dict={
            'steps': torch.tensor(1),
            **{f'module.{k}': v for k, v in model.state_dict().items()},
        },
    )
    hook.before_save_checkpoint(RUNNER, checkpoint)
    (write_sharded if path.suffix == '' else torch.save)(
        *((str(path), checkpoint) if path.suffix == '' else (checkpoint, path))
    )
    return str(path)


def old(path):
    """Take away what files have that were written before there was a note in them."""
    checkpoint = torch.load(path)
    del checkpoint[NOTE]
    torch.save(checkpoint, path)


@pytest.mark.parametrize('name', ['epoch_1.pth', 'old.pth', 'folder'])
@pytest.mark.parametrize(
    'reader',
    [
        lambda path: load_checkpoint(detector()['backbone'], path),
        lambda path: load_checkpoint(detector(), path, revise_keys=[('^backbone', 'neck')]),
        lambda path: _load_checkpoint_with_prefix('backbone.', path),
        lambda path: detector().load_state_dict(_load_checkpoint(path)['state_dict']),
        lambda path: copy.deepcopy(_load_checkpoint(path)['state_dict']),
        lambda path: detector().load_state_dict(_load_checkpoint(path)['ema_state_dict']),
        lambda path: base_state_dict(detector(), BaseRecord(load_from=path)),
    ],
)
def test_whoever_does_not_complete_it_is_refused(reader, name, tmp_path):
    path = written(tmp_path / name, LORA)
    if name == 'old.pth':
        old(path)
    with pytest.raises(
        UserError,
        match='holds only what a training .*its base, base.pth, would be '
        'random.*PEFTInjectHook.*mmadapt merge CONFIG .*'
        'load_adapter|belongs to another model',
    ):
        reader(path)


def test_our_reader_and_torch_get_what_is_in_it(tmp_path):
    path = written(tmp_path / 'epoch_1.pth', LORA)
    assert [*torch.load(path)][0] == NOTE, 'torch would name another class first'
    for state in (torch.load(path)['state_dict'], read_checkpoint(path)['state_dict']):
        assert {*state} == {'backbone.0.lora_A', 'backbone.0.lora_B'}


def test_what_is_read_and_saved_again_is_the_same_file(tmp_path):
    """MMEngine's published checkpoints are."""
    path = written(tmp_path / 'epoch_1.pth', LORA)
    torch.save(_load_checkpoint(path), tmp_path / 'again.pth')
    first, again = torch.load(path), torch.load(tmp_path / 'again.pth')
    assert [*first] == [*again]
    assert all(torch.equal(first['state_dict'][k], v) for k, v in again['state_dict'].items())


def test_where_mmadapt_is_not_imported_the_refusal_names_it(tmp_path):
    """Also where torch has been told to run whatever a file names, as MMDetection's users do."""
    path = written(tmp_path / 'epoch_1.pth', LORA)
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', STRANGER, path], text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    checked, everything = done.stdout[:-200], done.stdout.splitlines()[-1]
    assert 'mmadapt.files.trained_part.OnlyAnAdapterMergeItFirstOrImportMmadapt' in checked
    assert 'mmadapt merge CONFIG FILE' in everything


def test_a_model_that_is_loaded_for_inference_is_completed(tmp_path):
    base = detector()
    for parameter in base.parameters():
        nn.init.normal_(parameter)
    torch.save(base.state_dict(), tmp_path / 'base.pth')
    model = copy.deepcopy(base)
    inject(model, LORA)
    nn.init.normal_(model['backbone'][0].lora_B)
    hook = PEFTCheckpointHook(
        model, PEFTConfig.parse(LORA), BaseRecord(load_from=str(tmp_path / 'base.pth'))
    )
    hook._note_base()
    checkpoint = dict(state_dict=model.state_dict(), meta=dict(epoch=1))
    hook.before_save_checkpoint(RUNNER, checkpoint)
    torch.save(checkpoint, tmp_path / 'epoch_1.pth')
    for other in (detector(), copy.deepcopy(model)):  # a stock model, one adapted already
        assert load_checkpoint(other, str(tmp_path / 'epoch_1.pth'))['meta'] == dict(epoch=1)
        found = other.state_dict()
        assert all(torch.equal(found[key], value) for key, value in model.state_dict().items())
    (tmp_path / 'base.pth').rename(tmp_path / 'moved.pth')
    with pytest.raises(UserError, match='base.pth not found.*--base FILE of `mmadapt merge`'):
        load_checkpoint(detector(), str(tmp_path / 'epoch_1.pth'))


def test_a_checkpoint_of_full_fine_tuning_is_an_ordinary_one(tmp_path):
    """It holds buffers that the base has too: it lacks nothing, and any config reads it."""
    full = dict(method=None, targets='all', head='train', norm='affine')
    path = written(tmp_path / 'epoch_1.pth', full)
    checkpoint = _load_checkpoint(path)
    assert NOTE not in checkpoint
    assert {*checkpoint['state_dict']} == {*detector().state_dict()}
    assert guard(checkpoint, path)['state_dict'].items()
