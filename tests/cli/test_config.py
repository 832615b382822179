"""What is said of a config that cannot be read, and of a folder that cannot be written."""

import os
import re
import shlex
from importlib import import_module

import pytest
from mmengine.config import Config

from mmadapt.cli import load_config, set_work_dir
from mmadapt.errors import UserError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'configs' / 'peft').mkdir(parents=True)
    (tmp_path / 'configs' / 'peft' / 'rtmdet_lora.py').write_text(
        'a = dict(b=1)\nlist_ = [1]\nmodel = dict(type=1)\n'
    )
    return tmp_path


@pytest.mark.parametrize(
    'name',
    [
        'configs/peft/rtmdet_lroa.py',
        'configs/pfet/rtmdet_lora.py',
        'rtmdet_lora',
        'configs/peft/rtmdet_lora',
    ],
)
def test_a_missing_config_names_the_nearest(folder, name):
    with pytest.raises(UserError, match=r'nearest: configs/peft/rtmdet_lora\.py'):
        load_config(name)


@pytest.mark.parametrize('name', ['rtmdet_tiny_lora_face.py', 'configs/rtmdet_tiny_lora_fase'])
def test_one_that_comes_along_is_copied_by_the_command_that_is_shown(folder, name):
    with pytest.raises(UserError) as refused:
        load_config(name)
    command = re.search('`mmadapt (.+?)`', str(refused.value))[1]
    subcommand, *words = shlex.split(command)
    import_module(f'mmadapt.commands.{subcommand}').main(words)
    assert load_config('rtmdet_tiny_lora_face.py').peft.method.type == 'LoRA'


def test_a_copy_that_is_there_is_nearer_than_another_copy(folder):
    (folder / 'configs' / 'peft' / 'rtmdet_tiny_lora_face.py').write_text('a = 1\n')
    with pytest.raises(UserError, match=r'; nearest: configs/peft/rtmdet_tiny_lora_face\.py'):
        load_config('configs/peft/rtmdet_tiny_lora_fase.py')


def test_a_file_to_inherit_that_is_not_beside_the_config_is_named_as_it_is_inherited(folder):
    (folder / 'leaf.py').write_text("_base_ = ['../_base_/peft/lora.py']\n")
    with pytest.raises(UserError, match='mmadapt brings it: ') as refused:
        load_config('leaf.py')
    (folder / 'leaf.py').write_text(
        f'_base_ = [{str(refused.value).partition("it: ")[2]}]\nmodel = dict(type=1)\n'
    )
    assert load_config('leaf.py').peft.method.type == 'LoRA'


def test_a_missing_base_is_named(folder):
    (folder / 'leaf.py').write_text("_base_ = './gone.py'\n")
    with pytest.raises(UserError, match='inherits a file that is not there.*gone'):
        load_config('leaf.py')


def test_a_stock_config_is_read_by_its_package(folder):
    cfg = load_config('mmdet::retinanet/retinanet_r50_fpn_1x_coco.py', {'train_cfg.max_epochs': 2})
    assert (cfg.model.type, cfg.train_cfg.max_epochs) == ('RetinaNet', 2)
    for folder in 'retinanet', 'retnanet':
        with pytest.raises(
            UserError,
            match='mmdet has no such config; nearest: '
            'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py',
        ):
            load_config(f'mmdet::{folder}/retinanet_r51_fpn_1x_coco.py')
    with pytest.raises(UserError, match='mmnothing is not installed'):
        load_config('mmnothing::a/b.py')


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        (
            "_base_ = ['lora.py', 'dora.py']\n",
            r'leaf\.py: two files of its _base_ set `peft`, the second is .*/dora\.py; .*: inherit one of '
            r'them, and write peft = dict\(...\) with what is to be other in the config itself',
        ),
        (
            "_base_ = ['lora.py', 'hooks.py', 'more.py']\n",
            r'leaf\.py: two files of its _base_ set `custom_hooks`, .*/more\.py; .*let one of them inhe',
        ),
        ('a = 1\nb = dict(c=1\n', r"^leaf\.py, line 2: '\(' was never closed: b = dict\(c=1"),
        ("_base_ = ['bad.py']\n", r'/bad\.py, line 1: .*: x = \)'),
        (
            "_base_ = ['lroa.py']\n",
            r'leaf\.py inherits a file that is not there: .*/lroa\.py; nearest: .*/lora\.py',
        ),
        (
            "_base_ = ['mmdet::retinanet/retinanet_r51_fpn_1x_coco.py']\n",
            r'inherits .*: mmdet::.*r51.*; nearest: mmdet::retinanet/retinanet_r50_fpn_1x_coco\.py',
        ),
        ("_base_ = 'deep.py'\n", r'/deep\.py, line 2: AttributeError: .* no attribute .nothing'),
        ('a = 1\nb = c\n', r'^leaf\.py, line 2: NameError'),
        (
            "custom_imports = dict(imports=['no_such_module'])\n",
            r'^leaf\.py: custom_imports=no_such_module: ModuleNotFoundError: .*PYTHONPATH',
        ),
        (
            "custom_imports = dict(imports=['module_that_raises'])\n",
            r'^leaf\.py, in .*module_that_raises\.py, line 1: ValueError: inside',
        ),
        (
            "_base_ = ['lora.py']\npeft = [1]\ncustom = dict(a={'x': 1})\na = '{{$NO_SUCH_VARIABLE:}}'\n",
            r'leaf\.py: KeyError: `NO_SUCH_VARIABLE` cannot be found',
        ),
    ],
)
def test_what_is_wrong_in_a_config_names_the_file_and_the_place(folder, monkeypatch, text, message):
    monkeypatch.syspath_prepend(str(folder))
    for name, content in {
        'lora': 'peft = dict(method=1)',
        'dora': 'peft = dict(method=2)',
        'bad': 'x = )',
        'hooks': 'custom_hooks = []',
        'more': 'custom_hooks = []',
        'deep': "_base_ = 'lora.py'\ny = _base_.nothing",
        'module_that_raises': "raise ValueError('inside')",
        'leaf': text,
    }.items():
        (folder / f'{name}.py').write_text(content)
    with pytest.raises(UserError, match=message) as error:
        load_config('leaf.py')
    assert len(str(error.value).splitlines()) == 1


def test_a_file_to_inherit_is_no_config_of_a_run(folder):
    (folder / 'data.py').write_text("my_faces_data_root = 'data/'\n")
    with pytest.raises(UserError, match=r'^data\.py: there is no model; .* mmdet::') as refused:
        load_config('data.py')
    stock = re.search(r'mmdet::[\w/.-]+', str(refused.value))[0]
    (folder / 'leaf.py').write_text(f"_base_ = ['{stock}', './data.py']\n")
    assert load_config('leaf.py').model.type == 'RTMDet'


def test_an_option_that_does_not_fit_is_said_so(folder):
    with pytest.raises(UserError, match='do not fit the config'):
        load_config('configs/peft/rtmdet_lora.py', {'list_.5.x': 1})


def test_the_work_directory_is_the_argument_else_the_configs_else_the_files_name(folder):
    for argument, own, expected in (
        ('x', 'y', 'x'),
        (None, 'y', 'y'),
        (None, None, './work_dirs/leaf'),
    ):
        cfg = Config(dict(work_dir=own) if own else {})
        set_work_dir(cfg, 'configs/leaf.py', argument)
        assert cfg.work_dir == expected
        assert os.listdir(expected) == [], 'the trial file was left behind'


def test_an_unwritable_work_directory_is_one_line(folder):
    (folder / 'file').touch()
    with pytest.raises(UserError, match='work_dir file/run cannot be written: Not a directory'):
        set_work_dir(Config({}), 'leaf.py', 'file/run')
