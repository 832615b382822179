"""What a person has who installs the wheel, beside torch, mmcv and MMDetection, without a clone."""

import json
import os
import shutil
import site
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import mmdet
import pytest
import torch
from stock_runs import write_base, write_data

ROOT = Path(__file__).resolve().parents[1]
MMDET_TOOLS = Path(mmdet.__file__).parent / '.mim' / 'tools'
STOCK = 'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py'
SIZES = """
_base_ = './face.py'
pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True),
            dict(type='Resize', scale=(64, 64), keep_ratio=False), dict(type='PackDetInputs')]
train_dataloader = dict(batch_size=2, num_workers=0, dataset=dict(pipeline=pipeline))
val_dataloader = dict(num_workers=0, dataset=dict(pipeline=pipeline))
test_dataloader = dict(num_workers=0, dataset=dict(pipeline=pipeline))
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=2, val_interval=2)
optim_wrapper = dict(accumulative_counts=1)
custom_hooks = [dict(type='PEFTInjectHook')]
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=2, save_best=None),
                     logger=dict(interval=1))
"""


@pytest.fixture(scope='module')
def installed(tmp_path_factory):
    """The folder of the programs of an environment that has the wheel, and not this checkout."""
    folder = tmp_path_factory.mktemp('wheel')
    source = folder / 'source'
    for name in ('setup.py', 'pyproject.toml', 'README.md', 'mmadapt_command.py'):
        (source / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    for name in ('mmadapt', 'requirements'):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns('__pycache__'))
    pip = [sys.executable, '-m', 'pip', '--disable-pip-version-check']
    subprocess.run(
        [*pip, 'wheel', '-q', '--no-deps', '--no-build-isolation', '-w', folder, source], check=True
    )
    shutil.rmtree(source)
    venv.create(folder / 'env', symlinks=True)
    packages = Path(sysconfig.get_path('purelib', vars=dict(base=folder / 'env')))
    # Packages are found there, but an editable installation of this checkout is not followed.
    (packages / 'below.pth').write_text('\n'.join(site.getsitepackages()))
    python = folder / 'env' / 'bin' / 'python'
    (wheel,) = folder.glob('*.whl')
    subprocess.run(
        [python, *pip[1:], 'install', '-q', '--no-deps', '--no-index', '--ignore-installed', wheel],
        check=True,
    )
    return python.parent


@pytest.fixture(scope='module')
def run(installed, tmp_path_factory):
    """Return a function that runs a program of that environment, in a folder of its own."""
    cwd = tmp_path_factory.mktemp('user')
    env = {
        key: value for key, value in os.environ.items() if key not in ('PYTHONPATH', 'VIRTUAL_ENV')
    }
    env.update(
        PATH=f'{installed}:{env["PATH"]}',
        OMP_NUM_THREADS='1',
        CUDA_VISIBLE_DEVICES='-1',
        PYTHONWARNINGS='ignore',
        COLUMNS='200',
    )

    def _run(*words, code=0):
        done = subprocess.run(
            [*map(str, words)], cwd=cwd, env=env, text=True, capture_output=True, timeout=500
        )
        assert done.returncode == code, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout + done.stderr

    _run.cwd = cwd
    return _run


@pytest.fixture(scope='module')
def data(run):
    """Data in which the face config finds what it names, and a base checkpoint."""
    folder = run.cwd / 'data' / 'face_det'
    write_data(folder)
    for split, place in (('train', 'train'), ('val', 'validation')):
        if place != split:
            (folder / split).rename(folder / place)
        content = json.loads((folder / f'{split}.json').read_text())
        for category, name in zip(content['categories'], ('faces', 'face'), strict=True):
            category['name'] = name
        (folder / place / 'annotations_coco.json').write_text(json.dumps(content))
    write_base(run.cwd / 'base.pth', 'rtmdet')
    return folder


def test_nothing_is_of_a_checkout(run):
    where = run(
        'python',
        '-c',
        'import mmadapt, mmadapt_command; print(mmadapt.__file__, mmadapt_command.__file__)',
    )
    assert str(ROOT) not in where
    assert where.count('site-packages') == 2


def test_every_module_and_every_config_is_in_it(installed):
    (package,) = installed.parent.rglob('site-packages/mmadapt')
    written, there = (
        {path.relative_to(folder) for path in folder.rglob('*.py')}
        for folder in (ROOT / 'mmadapt', package)
    )
    assert written == there


def test_type_checkers_are_told_that_the_package_is_typed(installed):
    assert [*installed.parent.rglob('mmadapt/py.typed')]


def test_a_config_is_copied_trained_on_two_processes_tested_and_merged(run, data):
    listed = run('mmadapt', 'configs', 'list')
    assert 'peft/rtmdet_tiny_lora_face.py' in listed
    run('mmadapt', 'configs', 'copy', 'peft/rtmdet_tiny_lora_face.py', 'face.py')
    (run.cwd / 'small.py').write_text(SIZES)
    options = ['--cfg-options', 'load_from=base.pth']
    said = run('mmadapt', 'launch', '2', 'train', 'small.py', *options)
    assert (run.cwd / 'work_dirs' / 'small' / 'iter_2.pth').is_file()
    test, merge = said.splitlines()[-2:]
    for line in (test, merge):
        words = line.partition('mmadapt ')[2].split()
        run('mmadapt', *words)
    merged = run.cwd / 'work_dirs' / 'small' / 'merged.pth'
    again = run('mmadapt', 'merge', 'small.py', 'work_dirs/small/adapter', merged, *options, code=2)
    assert 'is there; --force' in again
    state = torch.load(merged, weights_only=True)['state_dict']
    base = torch.load(run.cwd / 'base.pth', weights_only=True)['state_dict']
    assert state.keys() == base.keys()


def test_a_stock_config_with_three_lines_is_trained_by_the_unmodified_tool(run, data):
    config = run.cwd / 'three_lines.py'
    config.write_text(
        f"_base_ = [{STOCK!r}, __import__('mmadapt').base('peft/lora.py')]\n"
        "custom_imports = dict(imports=['mmadapt'], allow_failed_imports=False)\n"
        "custom_hooks = [dict(type='PEFTInjectHook')]\n"
        "load_from = 'base.pth'\n"
        'model = dict(backbone=dict(init_cfg=None), bbox_head=dict(num_classes=2))\n'
        "data = dict(metainfo=dict(classes=('faces', 'face')), data_root='data/face_det/',\n"
        "            ann_file='train/annotations_coco.json', data_prefix=dict(img='train/'))\n"
        + SIZES.partition('\n\n')[0].split('\n', 2)[2].partition('train_dataloader')[0]
        + 'train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False,\n'
        '                        dataset=dict(data, pipeline=pipeline))\n'
        'val_cfg = val_dataloader = val_evaluator = None\n'
        'test_cfg = test_dataloader = test_evaluator = None\n'
        "train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=2)\n"
        'default_hooks = dict(checkpoint=dict(by_epoch=False, interval=2),\n'
        '                     logger=dict(interval=1))\n'
    )
    said = run('python', MMDET_TOOLS / 'train.py', config)
    assert 'trainable params' in said
    assert (run.cwd / 'work_dirs' / 'three_lines' / 'iter_2.pth').is_file()


def test_files_to_inherit_are_read_in_the_pure_python_form_too(run):
    """MMEngine finds packages in this form by where their distribution lies, editable ones not."""
    (run.cwd / 'new_style.py').write_text(
        'from mmengine.config import read_base\nfrom mmengine.optim import OptimWrapper\n\n'
        'with read_base():\n    from mmadapt.configs._base_.peft.lora import *\n'
        '    from mmadapt.configs._base_.memory.checkpoint_swin_detr import *\n'
        '    from mmadapt.configs._base_.schedules.adamw_cosine import *\n\n'
        'optim_wrapper = dict(type=OptimWrapper, optimizer=finetune_optimizer)\n'
        'peft.update(head="freeze")\n'
    )
    said = run(
        'python',
        '-c',
        'from mmengine.config import Config; '
        'cfg = Config.fromfile("new_style.py"); print(cfg.peft.method.r, cfg.peft.head, '
        'cfg.memory.checkpoint[0], cfg.optim_wrapper.optimizer.type)',
    )
    assert said.split() == ['32', 'freeze', 'SwinBlock', 'AdamW']


def test_a_folder_named_like_the_package_is_not_taken_for_it(tmp_path):
    """A session in the folder above a clone, where this environment has it editable."""
    (tmp_path / 'mmadapt' / 'mmadapt').mkdir(parents=True)
    env = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', 'import mmadapt; print(mmadapt.load_adapter)'],
        cwd=tmp_path,
        env=env,
        text=True,
        capture_output=True,
    )
    assert 'function load_adapter' in done.stdout, done.stderr
