"""Where a run starts from, and what a stopped one says."""

import sys

import pytest
import torch
from mmengine.config import Config

from mmadapt.cli import check_checkpoint, resume_command, set_resume
from mmadapt.errors import UserError
from mmadapt.files import write_sharded

BASE = 'https://example.org/base.pth'


def config(work_dir):
    return Config(dict(work_dir=str(work_dir), load_from=BASE))


def test_auto_resume_takes_the_last_checkpoint(tmp_path):
    (tmp_path / 'epoch_2.pth').touch()
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_2.pth'))
    cfg = config(tmp_path)
    assert set_resume(cfg, 'auto') == []
    assert (cfg.resume, cfg.load_from) == (True, str(tmp_path / 'epoch_2.pth'))


def test_auto_resume_survives_a_moved_work_directory(tmp_path):
    (tmp_path / 'epoch_2.pth').touch()
    (tmp_path / 'last_checkpoint').write_text('/where/it/was/epoch_2.pth')
    cfg = config(tmp_path)
    set_resume(cfg, 'auto')
    assert cfg.load_from == str(tmp_path / 'epoch_2.pth')


def test_auto_resume_without_a_checkpoint_keeps_the_pretrained_weights(tmp_path):
    cfg = config(tmp_path)
    (line,) = set_resume(cfg, 'auto')
    assert (cfg.resume, cfg.load_from) == (False, BASE)
    assert line.endswith(f'has no checkpoint yet, so this run begins anew from {BASE}')


def test_auto_resume_from_a_checkpoint_that_is_gone_lists_the_others(tmp_path):
    (tmp_path / 'epoch_1.pth').touch()
    (tmp_path / 'last_checkpoint').write_text('epoch_2.pth')
    with pytest.raises(UserError, match=r'epoch_2\.pth, which is not there; .* epoch_1\.pth'):
        set_resume(config(tmp_path), 'auto')


@pytest.mark.parametrize('moved', [False, True])
def test_a_sharded_checkpoint_is_one_to_resume_and_to_test(tmp_path, moved):
    folder = str(tmp_path / 'epoch_2.pth')
    write_sharded(folder, dict(state_dict=dict(weight=torch.ones(2)), meta={}))
    check_checkpoint(folder)
    cfg = config(tmp_path)
    set_resume(cfg, folder)
    assert (cfg.resume, cfg.load_from) == (True, folder)
    (tmp_path / 'last_checkpoint').write_text('/where/it/was/epoch_2.pth' if moved else folder)
    cfg = config(tmp_path)
    set_resume(cfg, 'auto')
    assert (cfg.resume, cfg.load_from) == (True, folder)


def test_without_resume_the_config_stays_as_it_is(tmp_path):
    cfg = config(tmp_path)
    cfg.resume = True  # set in the file
    set_resume(cfg, None)
    assert (cfg.resume, cfg.load_from) == (True, BASE)


def test_a_missing_checkpoint_names_the_nearest_and_the_others(tmp_path):
    for name in ('epoch_1.pth', 'epoch_12.pth', 'notes.txt'):
        (tmp_path / name).touch()
    with pytest.raises(UserError) as caught:
        check_checkpoint(str(tmp_path / 'epoch_2.pth'))
    assert 'did you mean' in str(caught.value)
    assert 'epoch_1.pth' in str(caught.value)
    assert 'notes' not in str(caught.value)


def test_safetensors_are_checkpoints_and_adapters_are_not(tmp_path):
    (tmp_path / 'model.safetensors').touch()
    check_checkpoint(str(tmp_path / 'model.safetensors'))
    check_checkpoint(str(tmp_path))
    with pytest.raises(UserError, match='did you mean .*model.safetensors'):
        check_checkpoint(str(tmp_path / 'modle.safetensors'))
    folder = tmp_path / 'adapter'
    folder.mkdir()
    (folder / 'adapter_config.json').write_text('{"mmadapt": {"base": {"load_from": "b.pth"}}}')
    with pytest.raises(UserError, match='is an adapter .* takes the checkpoint of its base, b.pth'):
        check_checkpoint(str(folder))
    with pytest.raises(UserError, match='is an adapter, which holds no optimizer: resume epoch_k'):
        set_resume(config(tmp_path), str(folder))


def test_a_missing_folder_or_a_folder_for_a_checkpoint_is_said_so(tmp_path):
    with pytest.raises(UserError, match='nor a folder'):
        check_checkpoint(str(tmp_path / 'run' / 'epoch_1.pth'))
    with pytest.raises(UserError, match='is a folder; it holds no .pth file'):
        check_checkpoint(str(tmp_path))
    check_checkpoint('https://example.org/epoch_1.pth')


@pytest.mark.parametrize(
    ('resume', 'words'),
    [
        (None, []),
        ('auto', ['--resume']),
        ('auto', ['--resume', 'auto']),
        ('auto', ['--resume=auto']),
        ('old.pth', ['--resume', 'old.pth']),
        ('old.pth', ['--resume=old.pth']),
    ],
)
def test_the_command_to_go_on_resumes_from_the_last_checkpoint(resume, words, monkeypatch):
    monkeypatch.delenv('MMADAPT_COMMAND', raising=False)
    monkeypatch.setattr(sys, 'argv', ['tools/train.py', 'my leaf.py', *words, '--amp'])
    assert resume_command(resume) == "python tools/train.py 'my leaf.py' --amp --resume"
    monkeypatch.setenv('MMADAPT_COMMAND', './tools/dist_train.sh my\\ leaf.py 2 ')
    assert resume_command(resume) == "./tools/dist_train.sh 'my leaf.py' 2 --resume"
