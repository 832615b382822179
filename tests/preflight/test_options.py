"""An option that would change nothing is refused, with what to write instead."""

import argparse

import pytest
from mmengine.config import Config

from mmadapt.cli.options import DictAction
from mmadapt.errors import UserError
from mmadapt.peft import PEFTConfig
from mmadapt.preflight import check_options

CFG = dict(
    max_epochs=12,
    lucky=7,
    train_cfg=dict(max_epochs=12),
    peft=dict(method=dict(r=4)),
    train_dataloader=dict(dataset=dict(datasets=[dict(data_root='a'), dict(data_root='b')])),
    data_root='a',
)


@pytest.mark.parametrize(
    'option',
    [
        'train_cfg.max_epochs',
        'peft.method.r',
        'randomness.seed',
        'load_from',
        'strategy.type',
        'auto_scale_lr.enable',
        'activation_checkpointing',
        'sync_bn',
        'model_wrapper_cfg.type',
        'find_unused_parameters',
        'efficient_conv_bn_eval',
    ],
)
def test_what_a_runner_or_mmadapt_reads_passes(option):
    assert check_options({**CFG, option.split('.')[0]: None}, {option: 1}) == []


def test_a_variable_of_the_file_is_refused_with_the_places_that_count():
    with pytest.raises(UserError, match=r'set train_cfg\.max_epochs here'):
        check_options(CFG, {'max_epochs': 3})
    with pytest.raises(UserError, match=r'datasets\.0\.data_root train_dataloader\.dataset\.datas'):
        check_options(CFG, {'data_root': 'c'})


def test_a_misspelled_name_is_refused_with_the_nearest():
    with pytest.raises(UserError, match='nearest: train_cfg'):
        check_options(CFG, {'trian_cfg.max_epochs': 3})


def test_a_variable_that_only_own_code_could_read_is_pointed_out():
    (line,) = check_options(CFG, {'lucky': 8})
    assert 'lucky is a variable of the config file' in line


def parsed(*words):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    return parser.parse_args(['--cfg-options', *words]).cfg_options


@pytest.mark.parametrize(
    ('word', 'peft', 'wanted'),
    [
        ("peft.targets=[dict(type='Conv2d')]", dict(targets='auto'), [dict(type='Conv2d')]),
        (
            "peft.targets=[dict(type='Conv2d', min_channels=64)]",
            dict(targets=['neck']),
            [dict(type='Conv2d', min_channels=64)],
        ),
        ("peft.targets=dict(type='Conv2d')", {}, [dict(type='Conv2d')]),
        (
            "peft.exclude=[{'type': 'Linear'}, {'groups': 2}]",
            dict(exclude=[]),
            [dict(type='Linear')],
        ),
        (
            "peft.method=dict(type='LoRA', r=16)",
            dict(method=dict(type='LoRA', r=4)),
            dict(type='LoRA', r=16),
        ),
        ("peft.method={'type': 'SSF'}", dict(method=None), dict(type='SSF')),
    ],
)
def test_a_dict_written_out_is_refused_with_words_that_work(word, peft, wanted):
    """MMEngine makes a text of it, which no layer is called."""
    cfg = Config(dict(peft=dict(dict(method=dict(type='LoRA', r=4)), **peft)))
    with pytest.raises(UserError, match='a dict cannot be written there') as caught:
        check_options(cfg, parsed(word))
    assert f'"{word.split("=", 1)[1].strip("[]")}"'.replace(' ', '') in str(caught.value)
    words = str(caught.value).split('key by key: ')[1].split(';')[0].split(' ')
    options = parsed(*words)
    assert check_options(cfg, options) == []
    cfg.merge_from_dict(options)
    key = word.split('=')[0].split('.')[1]
    assert getattr(PEFTConfig.parse(cfg.peft), key) == wanted


@pytest.mark.parametrize(
    'word',
    [
        "peft.method.rank_pattern={'backbone.stem.0.conv': 12}",
        "custom_hooks=[dict(type='EMAHook')]",
        "train_pipeline=[dict(type='Pad'),dict(type='Flip')]",
    ],
)
def test_dicts_in_a_list_or_with_keys_that_have_dots_belong_into_the_config(word):
    with pytest.raises(UserError, match='would arrive as a text; write it in the config$'):
        check_options(Config(dict(custom_hooks=[], train_pipeline=[])), parsed(word))


def test_texts_with_brackets_are_no_dicts():
    words = parsed(r'peft.targets=[(backbone|neck).*,conv\d{2}]', 'peft.exclude=a{2}')
    assert check_options(CFG, words) == []


def test_no_options_are_fine():
    assert check_options(CFG, None) == []
