"""Misspelled names are named with what they stand for, and right ones are left in peace."""

import re

import pytest
from mmdet.evaluation import CocoMetric
from mmengine.config import Config
from mmengine.registry import HOOKS

from mmadapt import UserError
from mmadapt.cli import load_config
from mmadapt.preflight import check_arguments, check_top
from mmadapt.preflight.arguments import parameters

RTMDET = 'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py'
LOOPS = ('train', 'val', 'test')


@pytest.fixture(scope='module')
def stock():
    return load_config(RTMDET)


@pytest.mark.parametrize(
    ('line', 'key', 'nearest'),
    [
        ("load_form = 'a.pth'", 'load_form', 'load_from'),
        ('param_schedular = []', 'param_schedular', 'param_scheduler'),
        ('optim_wraper = dict(optimizer=dict(lr=1e-5))', 'optim_wraper', 'optim_wrapper'),
        ('default_hook = dict(timer=None)', 'default_hook', 'default_hooks'),
        ('pfet = dict()', 'pfet', None),
        ('train_dataloder = dict()', 'train_dataloder', 'train_dataloader'),
        # Variables, used or not.
        ('num_classes = 3', 'num_classes', None),
        ('base_lr = 1', 'base_lr', None),
        ('test_pipeline = []', 'test_pipeline', None),
        ('mode = dict()\nmodel = dict(bbox_head=mode)', 'mode', None),
    ],
)
def test_a_misspelled_key_at_the_top(line, key, nearest, tmp_path):
    config = tmp_path / 'config.py'
    config.write_text(f"_base_ = ['{RTMDET}']\n{line}\n")
    if nearest is None:
        load_config(str(config))
        return
    with pytest.raises(UserError, match=f"sets '{key}' at its top, .*; nearest: '{nearest}'"):
        load_config(str(config))


def test_a_variable_that_a_base_of_a_config_has_is_used_where_it_is_read():
    check_top(dict(load_form=1), 'load_form = 1\nload_from = _base_.load_form')
    check_top(dict(load_form=1), "load_from = f'{load_form}'\nload_form = 1")
    dumped = 'models = [dict(a=1)]\nmodel = dict(of=[dict(a=1)])'
    check_top(dict(models=[dict(a=1)], model=dict(of=[dict(a=1)])), dumped)
    with pytest.raises(UserError, match="sets 'models'"):
        check_top(dict(models=[dict(a=1)], model=dict(of=[dict(a=2)])), dumped)
    check_top(dict(val_evaluator_own=1), 'val_evaluator_own = 1')
    with pytest.raises(UserError):
        check_top(dict(load_form=1), 'load_form = 1\n  load_forms = 2\nload_form = 1')


@pytest.mark.parametrize(
    ('option', 'value', 'said'),
    [
        (
            'optim_wrapper.optimizer.weigth_decay',
            0.1,
            "AdamW takes no 'weigth_decay'; nearest: 'weight_decay'",
        ),
        (
            'optim_wrapper.clip_grads',
            {},
            "OptimWrapper takes no 'clip_grads'; nearest: 'clip_grad'",
        ),
        (
            'optim_wrapper.paramwise_cfg.norm_decay_mul',
            0,
            "'norm_decay_mul'; nearest: 'norm_decay_mu",
        ),
        (
            'train_cfg.max_epoch',
            3,
            "EpochBasedTrainLoop takes no 'max_epoch'; nearest: 'max_epochs'",
        ),
        ('default_hooks.checkpoint.max_keep_ckpt', 3, "'max_keep_ckpt'; nearest: 'max_keep_ckpts'"),
        (
            'default_hooks.chekpoint',
            dict(interval=1),
            "no default hook 'chekpoint'; nearest: checkp",
        ),
        (
            'custom_hooks.0.begin_epochs',
            1,
            "EMAHook takes no 'begin_epochs'; nearest: 'begin_epoch'",
        ),
        ('custom_hooks.1.epoch', 1, "PipelineSwitchHook takes no 'epoch'; nearest: 'switch_epoch'"),
        ('train_dataloader.batchsize', 2, "DataLoader takes no 'batchsize'; nearest: 'batch_size'"),
        (
            'train_dataloader.dataset.anno_file',
            'a',
            "CocoDataset takes no 'anno_file'; nearest: 'ann",
        ),
        ('train_dataloader.dataset.pipeline.1.with_boxes', True, "'with_boxes'; nearest: 'with_"),
        (
            'train_dataloader.dataset.pipeline.1.type',
            'LoadAnotations',
            "nearest: 'LoadAnnotations'",
        ),
        ('train_dataloader.sampler.shufle', True, "takes no 'shufle'; nearest: 'shuffle'"),
        (
            'param_scheduler.0.start_facter',
            1,
            "LinearLR takes no 'start_facter'; nearest: 'start_f",
        ),
        ('test_evaluator.metrics', 'bbox', "CocoMetric takes no 'metrics'; nearest: 'metric'"),
    ],
)
def test_a_misspelled_argument(option, value, said, stock):
    cfg = Config(stock._cfg_dict.to_dict())
    check_arguments(cfg, LOOPS)
    cfg.merge_from_dict({option: value})
    with pytest.raises(UserError, match=re.escape(said)) as caught:
        check_arguments(cfg, LOOPS)
    assert option in str(caught.value)
    if not option.startswith(('test', 'default', 'custom')):
        check_arguments(cfg, ('test',))  # nothing of it is built


def test_factors_that_mmengine_would_not_look_for_are_named_and_those_of_others_are_not(stock):
    cfg = Config(stock._cfg_dict.to_dict())
    keys = {'norm': dict(decay_mut=0.0)}
    cfg.optim_wrapper.paramwise_cfg = dict(custom_keys=keys)
    with pytest.raises(UserError, match=r"\['norm'\].decay_mut: .*nearest: 'decay_mult'"):
        check_arguments(cfg, LOOPS)
    keys['norm'] = dict(lars_exclude=True)  # for the optimizer
    cfg.optim_wrapper.paramwise_cfg = dict(custom_keys=keys)
    check_arguments(cfg, LOOPS)
    keys['norm'] = dict(decay_mut=0.0)
    cfg.optim_wrapper.paramwise_cfg = dict(custom_keys=keys)
    cfg.optim_wrapper.constructor = 'LearningRateDecayOptimizerConstructor'
    check_arguments(cfg, LOOPS)


def test_all_that_is_misspelled_is_said_at_once(stock):
    cfg = Config(stock._cfg_dict.to_dict())
    cfg.merge_from_dict({'train_cfg.max_epoch': 3, 'param_scheduler.0.ends': 3})
    with pytest.raises(UserError) as caught:
        check_arguments(cfg, LOOPS)
    assert len(str(caught.value).split('\n')) == 2


def test_what_passes_on_its_arguments_takes_those_of_where_they_go():
    class First:
        def __init__(self, one, **kwargs):
            pass

    class Second(First):
        def __init__(self, two, **kwargs):
            super().__init__(**kwargs)

    class Third(Second):
        def __init__(self, three):
            super().__init__(two=3, one=1)

    assert parameters(First) == ({'one'}, True)
    assert parameters(Second) == ({'one', 'two'}, True)
    assert parameters(Third) == ({'three'}, False)
    assert 'ann_file' in parameters(CocoMetric)[0]

    @HOOKS.register_module('passing_on', force=True)
    class Fourth(Second):
        pass

    check_arguments(dict(custom_hooks=[dict(type='passing_on', anything=1, priority=3)]), LOOPS)
