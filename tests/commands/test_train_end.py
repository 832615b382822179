"""How a training ends: what it says that it has written is there, and its commands work."""

import pickle
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from stock_runs import LORA, run, write_base, write_config, write_data

from mmadapt.cli.written import what_was_written

TOOLS = Path(__file__).parents[2] / 'tools'
COMMAND = TOOLS.parent / 'mmadapt_command.py'
_INFER = """
import sys
sys.modules['mmadapt'] = None          # every import of it is an ImportError
import torch
from mmdet.apis import DetInferencer
config, weights, out, *images = sys.argv[1:]
found = DetInferencer(config, weights, device='cpu')(images)['predictions']
torch.save(found, out)
"""
# From the second epoch on, the disk of a run is full.
_FULL_DISK = """
import resource
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
@HOOKS.register_module()
class FullDisk(Hook):
    def before_train_epoch(self, runner):
        if runner.epoch == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000_000, 10_000_000))
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('end')
    write_data(folder)
    write_base(folder / 'base.pth', 'rtmdet')
    return folder


@pytest.fixture(scope='module')
def trained(folder):
    """The last three lines of a training with LoRA."""
    config = write_config(
        folder,
        'rtmdet',
        folder,
        folder / 'base.pth',
        LORA,
        ema=False,
        extra=(
            "custom_imports = dict(imports=['mmadapt'], allow_failed_imports=False)\n"
            "default_hooks['checkpoint']['save_best'] = 'auto'\n"
        ),
    )
    output = run(
        TOOLS / 'train.py',
        config,
        '--work-dir',
        folder / 'run',
        '--cfg-options',
        'train_dataloader.batch_size=6',
    )
    return [line.split(' - INFO - ')[-1] for line in output.splitlines()[-3:]]


def test_the_last_lines_name_what_is_there(trained, folder):
    written, test, merge = trained
    assert written.startswith(f'written to {folder}/run: ')
    for name in (
        'epoch_1.pth (the last',
        'best_coco_bbox_mAP_epoch_1.pth (the best: coco/bbox_mAP',
        'adapter (',
        'best_adapter (',
    ):
        assert name in written
        assert (folder / 'run' / name.split(' ')[0]).exists()
    for line, command, what in (
        (test, 'test', 'best_coco_bbox_mAP_epoch_1.pth'),
        (merge, 'merge', 'best_adapter'),
    ):
        assert f': mmadapt {command} {folder}/config.py {folder}/run/{what} ' in line
        assert line.endswith(' --cfg-options train_dataloader.batch_size=6')


def test_its_commands_and_an_inferencer_without_mmadapt_give_the_same_boxes(
    trained, folder, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    wanted, found = tmp_path / 'wanted.pkl', tmp_path / 'found.pth'
    said = typed(trained[1], '--out', wanted, '--work-dir', tmp_path)
    (images,) = tmp_path.glob('*/images')
    assert len([*images.glob('*.png')]) == 4
    assert said.splitlines()[-1].endswith(f'images of the predictions: {images}')
    test, use = typed(trained[2]).splitlines()[-2:]
    merged = folder / 'run' / 'merged.pth'
    assert f'mmadapt test {merged.with_suffix(".py")} {merged} --show-dir images' in test
    again = tmp_path / 'again.pkl'
    typed(test, '--out', again, '--work-dir', tmp_path / 'again')
    for ours, theirs in zip(
        *(pickle.loads(file.read_bytes()) for file in (wanted, again)), strict=True
    ):
        assert torch.allclose(
            ours['pred_instances']['scores'], theirs['pred_instances']['scores'], atol=1e-5
        )
    assert f"DetInferencer('{merged.with_suffix('.py')}', '{merged}')('IMAGE'" in use
    script = tmp_path / 'infer.py'
    script.write_text(_INFER)
    images = [folder / 'val' / f'{i}.png' for i in range(4)]
    run(script, merged.with_suffix('.py'), merged, found, *images)
    for ours, theirs in zip(pickle.loads(wanted.read_bytes()), torch.load(found), strict=True):
        ours, theirs = _rows(**ours['pred_instances']), _rows(**theirs)
        assert ours.shape == theirs.shape
        assert len(ours) > 10
        # Two of the same score may change places.
        nearest = torch.cdist(ours, theirs, compute_mode='donot_use_mm_for_euclid_dist').min(1)
        assert nearest.values.max() < 1e-3


def typed(line, *more):
    """Run the command that a line ends with."""
    _, *words = shlex.split(line.split(': ', 1)[1])
    return run(COMMAND, *words, *more)


def _rows(bboxes, scores, labels):
    bboxes, scores, labels = (torch.as_tensor(x) for x in (bboxes, scores, labels))
    return torch.cat([bboxes, 100 * scores[:, None], 100 * labels[:, None]], 1)


def test_a_full_disk_ends_in_one_line_that_says_how_to_go_on(folder, tmp_path, monkeypatch):
    """Without `peft`: what every training with our tool has."""
    (tmp_path / 'full_disk.py').write_text(_FULL_DISK)
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    config = write_config(
        tmp_path,
        'rtmdet',
        folder,
        folder / 'base.pth',
        None,
        epochs=2,
        extra=(
            "custom_imports = dict(imports=['full_disk'], allow_failed_imports=False)\n"
            "custom_hooks = [dict(type='FullDisk')]\n"
            "default_hooks['checkpoint'].update(max_keep_ckpts=1)\n"
        ),
    )
    output = run(
        TOOLS / 'train.py',
        config,
        '--work-dir',
        tmp_path / 'run',
        '--resume',
        '--cfg-options',
        'train_dataloader.batch_size=6',
        fails=True,
    )
    assert 'Traceback' not in output
    behind = output.partition(' - Config:')[2]
    assert f'{tmp_path}/run has no checkpoint yet, so this run begins anew from {folder}' in behind
    last = tmp_path / 'run' / 'epoch_1.pth'
    assert output.splitlines()[-1] == (
        f'{tmp_path}/run/epoch_2.pth cannot be written: File too large. Stopped at iteration 4; '
        f'what was written before is whole. Last checkpoint: {last}. To go on: python '
        f'{TOOLS}/train.py {config} --work-dir {tmp_path}/run --cfg-options '
        'train_dataloader.batch_size=6 --resume'
    )
    assert len(torch.load(last, weights_only=False)['state_dict']) > 100
    assert [path.name for path in (tmp_path / 'run').glob('*.pth')] == ['epoch_1.pth']


def test_a_finished_run_that_is_resumed_knows_no_name_of_the_metric_of_its_best(tmp_path):
    hook = CheckpointHook(save_best='auto')
    hook.best_ckpt_path = str(tmp_path / 'best_coco_bbox_mAP_epoch_1.pth')
    runner = SimpleNamespace(
        hooks=[hook],
        cfg=Config(),
        work_dir=str(tmp_path),
        message_hub=SimpleNamespace(runtime_info=dict(best_score=0.25)),
    )
    (written,) = what_was_written(runner, 'config.py')
    assert written.endswith('best_coco_bbox_mAP_epoch_1.pth (the best: 0.2500)')
