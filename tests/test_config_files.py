"""The config files that come along: found, listed, copied, and inherited from anywhere."""

import re

import pytest
import yaml
from leaf_files import need_library_of
from mmengine.config import Config

import mmadapt
from mmadapt import UserError
from mmadapt.commands import configs
from mmadapt.config_files import CONFIGS, config_names, copy_of, first_sentence

STOCK = "'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py'"
INDEX = yaml.safe_load((CONFIGS.parent / '.mim' / 'model-index.yml').read_text())
LEAVES = [name for name in config_names() if not name.startswith('_base_/')]


def test_a_stock_config_inherits_a_file_from_anywhere_dumps_and_reloads(tmp_path):
    config = tmp_path / 'config.py'
    config.write_text(
        f"_base_ = [{STOCK}, __import__('mmadapt').base('peft/lora.py')]\n"
        "custom_hooks = [*_base_.get('custom_hooks', []), "
        "dict(type='PEFTInjectHook')]\n"
    )
    cfg = Config.fromfile(config)
    assert cfg.peft == Config.fromfile(CONFIGS / '_base_/peft/lora.py').peft
    assert len(cfg.custom_hooks) == 3
    cfg.dump(tmp_path / 'dumped.py')
    assert Config.fromfile(tmp_path / 'dumped.py').to_dict() == cfg.to_dict()


def test_the_list_says_a_whole_sentence_of_each():
    for name in config_names():
        assert re.fullmatch(r'[A-Z].{10,210}[^ ][.]', first_sentence(name)), name
    assert first_sentence('_base_/strategies/deepspeed_zero1.py').endswith(" optimizer's state.")
    assert first_sentence('_base_/datasets/face_det.py').endswith(' of a Roboflow export.')


@pytest.mark.parametrize('name', ['peft/loar.py', '../peft/rtmdet_tiny_lora_face.py', 'peft', ''])
def test_a_file_that_is_not_there_is_refused_and_the_nearest_is_named(name):
    with pytest.raises(UserError, match=r"no config '.*'; nearest: '\w+/\w+.py'"):
        mmadapt.base(name)


@pytest.mark.parametrize('name', [*LEAVES, '_base_/memory/offload_swin_detr.py'])
def test_a_copy_says_the_same_wherever_it_lies(name, tmp_path):
    need_library_of(CONFIGS / name)
    copy, text = copy_of(name, str(tmp_path / 'mine.py'))
    copy.write_text(text)
    assert Config.fromfile(copy).to_dict() == Config.fromfile(CONFIGS / name).to_dict()
    assert str(CONFIGS) not in copy.read_text()


def test_a_copy_goes_into_a_folder_and_over_nothing(tmp_path):
    configs.main(['copy', '_base_/peft/lora.py', str(tmp_path)])
    copy = tmp_path / 'lora.py'
    assert copy.read_text() == (CONFIGS / '_base_/peft/lora.py').read_text()
    configs.main(['copy', '_base_/peft/lora.py', str(copy)])  # it says that already
    copy.write_text('mine')
    with pytest.raises(UserError, match='lora.py is there and differs; --force'):
        configs.main(['copy', '_base_/peft/lora.py', str(tmp_path)])
    assert copy.read_text() == 'mine'
    configs.main(['copy', '_base_/peft/lora.py', str(tmp_path), '--force'])
    assert copy.read_text() != 'mine'
    with pytest.raises(UserError, match='is no folder, nor does it end with .py'):
        copy_of('_base_/peft/lora.py', str(tmp_path / 'lora.txt'))


def test_what_mim_shows_is_what_there_is():
    assert [f'configs/{name}' for name in LEAVES] == [model['Config'] for model in INDEX['Models']]


@pytest.mark.parametrize('model', INDEX['Models'], ids=lambda model: model['Name'])
def test_what_mim_shows_of_a_config_is_what_it_says(model):
    file = CONFIGS.parent / model['Config']
    assert model['Name'] == file.stem
    need_library_of(file)
    cfg = Config.fromfile(file)
    assert model.get('Weights') == cfg.load_from
    assert model['In Collection'] == cfg.peft.method.type
    assert model['In Collection'] in {collection['Name'] for collection in INDEX['Collections']}
