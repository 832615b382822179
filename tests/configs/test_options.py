"""An option that would change nothing is refused, with what to write instead."""

import pytest

from mmadapt.configs import check_options
from mmadapt.errors import UserError

CFG = dict(max_epochs=12, lucky=7, train_cfg=dict(max_epochs=12), peft=dict(method=dict(r=4)),
           train_dataloader=dict(dataset=dict(datasets=[dict(data_root='a'), dict(data_root='b')])),
           data_root='a')


@pytest.mark.parametrize('option', ['train_cfg.max_epochs', 'peft.method.r', 'randomness.seed',
                                    'load_from', 'strategy.type', 'auto_scale_lr.enable',
                                    'activation_checkpointing', 'sync_bn', 'model_wrapper_cfg.type',
                                    'find_unused_parameters', 'efficient_conv_bn_eval'])
def test_what_a_runner_or_mmadapt_reads_passes(option):
    assert check_options({**CFG, option.split('.')[0]: None}, {option: 1}) == []


def test_a_variable_of_the_file_is_refused_with_the_places_that_count():
    with pytest.raises(UserError, match=r'set train_cfg\.max_epochs here'):
        check_options(CFG, {'max_epochs': 3})
    with pytest.raises(UserError, match=r'datasets\.0\.data_root train_dataloader\.dataset\.datas'):
        check_options(CFG, {'data_root': 'c'})


def test_a_misspelt_name_is_refused_with_the_nearest():
    with pytest.raises(UserError, match='nearest: train_cfg'):
        check_options(CFG, {'trian_cfg.max_epochs': 3})


def test_a_variable_that_only_own_code_could_read_is_pointed_out():
    line, = check_options(CFG, {'lucky': 8})
    assert 'lucky is a variable of the config file' in line


def test_no_options_are_fine():
    assert check_options(CFG, None) == []
