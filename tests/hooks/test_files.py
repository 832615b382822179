"""What a training leaves, and that the stock tools take it."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.hooks import EMAHook
from safetensors.torch import load_file
from stock_runs import LORA, TTA, environment, run, write_config

from mmadapt.files import MERGED_NAMES, read_adapter, read_checkpoint
from mmadapt.peft import merged_state_dict

_WITHOUT_MMADAPT = """
import sys
sys.modules['mmadapt'] = None          # every import of it is an ImportError
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmdet.registry import MODELS
from mmengine.model import revert_sync_batchnorm
init_default_scope('mmdet')
cfg = Config.fromfile(sys.argv[1], import_custom_modules=False)
model = revert_sync_batchnorm(MODELS.build(cfg.model)).eval()
model.load_state_dict(torch.load(sys.argv[2], weights_only=True)['state_dict'], strict=True)
sys.path.insert(0, sys.argv[4])
with torch.no_grad():
    generator = torch.Generator().manual_seed(5)
    features = model.extract_feat(torch.randn(1, 3, 64, 64, generator=generator))
    outputs = [*features, *(t for level in model.bbox_head(features) for t in level)]
expected = torch.load(sys.argv[3])
print('largest difference', max((a - b).abs().max().item() for a, b in zip(outputs, expected)))
"""


_READ = dict(
    safetensors=load_file,
    full_torch_model=lambda path: torch.load(path, weights_only=False).state_dict(),
)


@pytest.fixture(scope='module')
def trained(data, bases, tmp_path_factory):
    """A finished training of RTMDet, its config and its probe's folder."""
    folder = tmp_path_factory.mktemp('trained')
    config = write_config(
        folder,
        'rtmdet',
        data,
        bases('rtmdet'),
        {**LORA, 'export': 'state_dict'},
        probe=f'out={str(folder / "probe")!r}, sensitivity=[]',
        extra=f"default_hooks['checkpoint']['save_best'] = 'auto'\n{TTA}",
    )
    run('train.py', config, '--work-dir', folder / 'run')
    return folder, config


def test_three_kinds_of_files_are_tested_and_agree(trained, bases, tmp_path):
    """epoch_k.pth, the base with peft.adapter, and the merged checkpoint give the same outputs."""
    folder, config = trained
    outputs = []
    for arguments in (
        [folder / 'run' / 'epoch_1.pth'],
        [bases('rtmdet'), '--cfg-options', f'peft.adapter={folder}/run/adapter'],
        [folder / 'run' / 'merged_model_state_dict.pth'],
    ):
        run('test.py', config, *arguments, '--work-dir', tmp_path)
        outputs.append(torch.load(folder / 'probe' / 'test_outputs.pth'))
    for other in outputs[1:]:
        for a, b in zip(outputs[0], other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_merged_checkpoint_is_stock_where_mmadapt_cannot_be_imported(trained, tmp_path):
    folder, config = trained
    run('test.py', config, folder / 'run' / 'epoch_1.pth', '--work-dir', tmp_path)
    done = subprocess.run(
        [
            sys.executable,
            '-W',
            'ignore',
            '-c',
            _WITHOUT_MMADAPT,
            str(config),
            str(folder / 'run' / 'merged_model_state_dict.pth'),
            str(folder / 'probe' / 'test_outputs.pth'),
            '',
        ],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) < 1e-5


def test_test_time_augmentation_wraps_an_adapted_model(trained, tmp_path):
    folder, config = trained
    log = run('test.py', config, folder / 'run' / 'epoch_1.pth', '--work-dir', tmp_path, '--tta')
    assert 'trainable params' in log
    assert 'bbox_mAP' in log


def test_best_checkpoint_becomes_an_adapter_folder(trained):
    folder, _ = trained
    (best,) = (folder / 'run').glob('best_*.pth')
    _, tensors = read_adapter(str(folder / 'run' / 'best_adapter'))
    state = read_checkpoint(str(best))['state_dict']
    assert all(torch.equal(tensors[k], v) for k, v in state.items())


def test_checkpoints_name_their_base_and_hold_no_frozen_tensor(trained, bases):
    folder, _ = trained
    checkpoint = read_checkpoint(str(folder / 'run' / 'epoch_1.pth'))
    record = checkpoint['mmadapt']
    assert record['base']['load_from'] == str(bases('rtmdet'))
    assert len(record['base']['sha256']) == 64
    base = read_checkpoint(str(bases('rtmdet')))['state_dict']
    assert [
        k
        for k, v in checkpoint['state_dict'].items()
        if k in base and torch.equal(v, base[k]) and 'num_batches' not in k
    ] == []
    averaged = {k.removeprefix('module.') for k in checkpoint['ema_state_dict']} - {'steps'}
    assert averaged == set(checkpoint['state_dict']), 'the average doubles the base'


def test_adapter_config_names_the_classes(trained):
    folder, _ = trained
    config = json.loads((folder / 'run' / 'adapter' / 'adapter_config.json').read_text())
    assert config['mmadapt']['class_names'] == ['square', 'dot']


@pytest.mark.parametrize(
    ('export', 'message'),
    [('safetensors', 'safetensors.torch.load_file'), ('full_torch_model', 'weights_only=False')],
)
def test_merge_tool_writes_in_each_format_what_the_end_of_training_wrote(
    export, message, trained, tmp_path
):
    folder, config = trained
    out = tmp_path / f'out.{export}'
    done = _merge(config, folder / 'run' / 'adapter', out, '--format', export)
    assert done.returncode == 0, done.stderr
    assert message in done.stdout
    written = _READ[export](out)
    merged = read_checkpoint(str(folder / 'run' / 'merged_model_state_dict.pth'))['state_dict']
    assert written.keys() == merged.keys()
    assert all(torch.equal(written[key], value) for key, value in merged.items())


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('out.pth', '--format', 'save_pretrained'), 'that folder, with Hugging Face'),
        (('out.safetensors',), '--format state_dict does not go with the name out.safetensors'),
    ],
)
def test_merge_tool_refuses_a_format_before_it_builds_anything(arguments, message, tmp_path):
    done = _merge('no_such_config.py', 'no_such_adapter', *arguments)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert message in line


def _merge(*arguments):
    tool = Path(__file__).parents[2] / 'tools' / 'merge_adapter.py'
    return subprocess.run(
        [sys.executable, '-W', 'ignore', str(tool), *map(str, arguments)],
        env=environment(),
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize('export', ['safetensors', 'full_torch_model'])
def test_export_at_the_end_of_training_is_of_the_average_that_was_validated(
    export, start, tmp_path
):
    runner = start({**LORA, 'export': export}, **{'train_dataloader.batch_size': 6})
    (hook,) = (h for h in runner.hooks if isinstance(h, EMAHook))
    wanted = merged_state_dict(hook.ema_model.module)
    written = _READ[export](tmp_path / 'run' / MERGED_NAMES[export])
    assert written.keys() == wanted.keys()
    assert all(torch.equal(written[key], value) for key, value in wanted.items())
    own = merged_state_dict(runner.model)
    assert any(not torch.equal(written[key], own[key]) for key in own)


@pytest.mark.parametrize(('head', 'most'), [('train', 0.15), ('adapt', 0.0699)])
def test_a_checkpoint_has_a_small_part_of_the_size_of_a_full_one(head, most, start, build_detector):
    """RTMDet-tiny r=8 with its moving average, without optimizer.

    With the head adapted, 337,494 of 4,873,470 parameters train: the values alone are 6.84 %.
    """
    runner = start(
        dict(method=dict(type='LoRA', r=8), head=head),
        **{
            'default_hooks.checkpoint.save_optimizer': False,
            'default_hooks.checkpoint.save_param_scheduler': False,
        },
    )
    path = Path(runner.work_dir) / 'epoch_1.pth'
    checkpoint, stock = read_checkpoint(str(path)), build_detector().state_dict()
    full = dict(
        meta=checkpoint['meta'],
        message_hub=checkpoint['message_hub'],
        state_dict=stock,
        ema_state_dict={f'module.{key}': value.clone() for key, value in stock.items()},
    )
    file = io.BytesIO()
    torch.save(full, file)
    share = path.stat().st_size / len(file.getvalue())
    assert share <= most, f'{100 * share:.2f} %'
    averaged = {key.removeprefix('module.') for key in checkpoint['ema_state_dict']} - {'steps'}
    assert averaged == checkpoint['state_dict'].keys(), 'the average doubles the base'
