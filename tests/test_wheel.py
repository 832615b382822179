"""What a person has who installs the wheel, beside torch, mmcv and MMDetection, without a clone."""

import os
import re
import subprocess
import sys
from pathlib import Path

import mmdet
import pytest
from installed import copy_train_test_and_merge, make_environment, typing_there, write_face_data

ROOT = Path(__file__).resolve().parents[1]
MMDET_TOOLS = Path(mmdet.__file__).parent / '.mim' / 'tools'
STOCK = 'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py'


@pytest.fixture(scope='module')
def installed(tmp_path_factory):
    """The folder of the programs of an environment that has the wheel, and not this checkout."""
    # That this one may be beside another is its own business.
    packages = [path for path in sys.path if Path(path).name == 'site-packages']
    return make_environment(tmp_path_factory.mktemp('wheel'), packages)


@pytest.fixture(scope='module')
def run(installed, tmp_path_factory):
    return typing_there(installed, tmp_path_factory.mktemp('user'))


@pytest.fixture(scope='module')
def data(run):
    write_face_data(run.cwd)


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
    copy_train_test_and_merge(run)


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
        "pipeline = [dict(type='LoadImageFromFile'),\n"
        "            dict(type='LoadAnnotations', with_bbox=True),\n"
        "            dict(type='Resize', scale=(64, 64), keep_ratio=False),\n"
        "            dict(type='PackDetInputs')]\n"
        'train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False,\n'
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


def test_every_subcommand_can_be_imported(run):
    run(
        'python',
        '-c',
        'import mmadapt_command as c, importlib; '
        '[importlib.import_module(f"mmadapt.commands.{name}") for name in c.COMMANDS]',
    )


def test_mim_finds_the_configs_and_the_tools(run):
    pytest.importorskip('mim')
    mim = ['env', f'HOME={run.cwd}', 'python', '-m', 'mim']
    assert re.search('^mmadapt ', run(*mim, 'list'), re.M)
    assert "'rtmdet_tiny_lora_face'" in run(*mim, 'search', 'mmadapt', '--valid-config')
    # It finds the config by its name alone, and the tool, which refuses this and trains nothing.
    wrong = ['--cfg-options', 'peft.methd.r=16']
    said = run(*mim, 'train', 'mmadapt', 'rtmdet_tiny_lora_face.py', '--gpus', '0', *wrong, code=1)
    assert 'peft.methd' in said
    assert 'mmadapt/.mim/tools/train.py' in said
    said = run(*mim, 'run', 'mmadapt', 'test', 'gone.py', 'gone.pth', code=1)
    assert 'there is no config file gone.py' in said


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
