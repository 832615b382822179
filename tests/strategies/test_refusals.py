"""What a strategy cannot do is said by a training before it reads data, and by a plan alike."""

import copy
import re
from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from mmcv.cnn import Scale
from mmengine.config import Config
from mmengine.hooks import CheckpointHook, EMAHook
from mmengine.optim import OptimWrapper
from mmengine.registry import RUNNERS
from torch import nn

from mmadapt import UserError
from mmadapt.planning.plan import plan_rows
from mmadapt.preflight import check_run
from mmadapt.recipes import strategies as planned
from mmadapt.recipes.changes import Model
from mmadapt.recipes.recipe import parse_recipe
from mmadapt.recipes.run import Setting
from mmadapt.strategies import DeepSpeedStrategy, FSDP2Strategy
from mmadapt.strategies.deepspeed import settings
from mmadapt.strategies.fsdp2.scalars import trained_scalars

FSDP2 = dict(type='mmadapt.FSDP2Strategy')
ZERO2 = dict(type='mmadapt.DeepSpeedStrategy')
ZERO3 = dict(type='mmadapt.DeepSpeedStrategy', zero_optimization=dict(stage=3))
QUANTIZED = dict(
    peft=dict(method=dict(type='LoRA'), quant=dict(bits=4)),
    custom_hooks=[dict(type='PEFTInjectHook')],
)
EVERY = dict(type='CheckpointHook', by_epoch=False, interval=1)
REFUSED = [
    (FSDP2, dict(compile=True), 'compile: a model is not compiled under FSDP2Strategy; remove'),
    (ZERO2, dict(compile=True), 'compile: a model is not compiled under DeepSpeedStrategy; remove'),
    (FSDP2, dict(find_unused_parameters=True), 'find_unused_parameters: FSDP2Strategy has no such'),
    (ZERO2, dict(model_wrapper_cfg=dict(type='X')), 'model_wrapper_cfg: DeepSpeedStrategy has no'),
    (FSDP2, dict(efficient_conv_bn_eval=['backbone']), 'efficient_conv_bn_eval: FlexibleRunner'),
    (FSDP2, dict(runner_type='Runner'), 'the config has a `strategy`, which the stock Runner does'),
    (
        dict(FSDP2, shards=[]),
        {},
        "strategy has no key 'shards' under FSDP2Strategy; nearest: 'shard'",
    ),
    (dict(FSDP2, prefetch=-1), {}, 'strategy.prefetch must be an integer of at least 0, got -1'),
    (dict(FSDP2, replicate=3), {}, 'strategy.replicate=3: the 1 processes of this run can be'),
    (dict(FSDP2, meta_init=True), QUANTIZED, 'strategy.meta_init=True: peft.quant quantizes in'),
    (
        dict(FSDP2, sharded_checkpoints=True),
        dict(default_hooks=dict(checkpoint=dict(type='CheckpointHook', out_dir='s3://a'))),
        'default_hooks.checkpoint.out_dir=s3://a: sharded checkpoints are written to local',
    ),
    (
        dict(FSDP2, sharded_checkpoints=True),
        dict(default_hooks=dict(checkpoint=dict(type=CheckpointHook, published_keys=['meta']))),
        'default_hooks.checkpoint.published_keys makes a file of a checkpoint',
    ),
    (FSDP2, dict(custom_hooks=[dict(type='mmdet.SyncNormHook')]), 'SyncNormHook averages whole'),
    (
        FSDP2,
        dict(custom_hooks=[dict(type='EMAHook', device='cpu')]),
        "EMAHook.device='cpu': under FSDP2Strategy the average is sharded",
    ),
    (
        FSDP2,
        dict(optim_wrapper=dict(clip_grad=dict(max_norm=1, norm_type='inf'))),
        'optim_wrapper.clip_grad.norm_type=inf: the largest element of a part',
    ),
    (
        FSDP2,
        dict(
            optim_wrapper=dict(
                constructor='Mine',
                head=dict(clip_grad=dict(max_norm=1, norm_type=float('inf'))),
            )
        ),
        'optim_wrapper.clip_grad.norm_type=inf: the largest element of a part',
    ),
    (ZERO3, dict(custom_hooks=[dict(type='EMAHook')]), 'EMAHook reads whole weights, which ZeRO-3'),
    (ZERO3, dict(custom_hooks=[dict(type=EMAHook)]), 'EMAHook reads whole weights, which ZeRO-3'),
    (
        ZERO3,
        dict(custom_hooks=[dict(type='mmdet.MeanTeacherHook')]),
        'MeanTeacherHook reads whole weights, which ZeRO-3',
    ),
    (
        ZERO3,
        dict(custom_hooks=[dict(type='mmdet.SyncNormHook')]),
        'SyncNormHook reads whole weights, which ZeRO-3',
    ),
    (ZERO3, QUANTIZED, 'peft.quant: ZeRO-3 cannot shard quantized weights; write strategy.zero'),
    (
        dict(ZERO2, zero_optimization=dict(overlap_comm=True)),
        {},
        'strategy.zero_optimization.stage=None is not one of [1, 2, 3]; without sharding: strategy=',
    ),
    (
        ZERO2,
        dict(optim_wrapper=dict(optimizer=dict(type='Adafactor'))),
        "optim_wrapper.optimizer.type='Adafactor' does not work under DeepSpeedStrategy",
    ),
    (
        ZERO2,
        dict(optim_wrapper=dict(clip_grad=dict(max_norm=1, norm_type=1))),
        'optim_wrapper.clip_grad=',
    ),
    (
        ZERO2,
        dict(optim_wrapper=dict(accumulative_counts=2), default_hooks=dict(checkpoint=EVERY)),
        'a checkpoint inside an accumulation of 2 iterations: ZeRO-2 and 3 cannot write',
    ),
]


def config(strategy, cfg, folder):
    """Return the config of a training whose model and data are not to be had."""
    whole = Config(
        dict(
            default_scope='mmdet',
            model=dict(type='Nothing'),
            runner_type='FlexibleRunner',
            strategy=strategy,
            train_dataloader=dict(batch_size=1, dataset=dict(type='Nowhere')),
            train_cfg=dict(type='IterBasedTrainLoop', max_iters=9),
            optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-4)),
            env_cfg=dict(dist_cfg=dict(backend='gloo')),
            work_dir=str(folder),
        ),
        format_python_code=False,  # classes as types are no text
    )
    whole.merge_from_dict(copy.deepcopy(cfg))
    return whole


def training(cfg):
    """Return what a training by a config ends with, before it reads its data."""
    if cfg.runner_type == 'Runner':
        check_run(cfg)
    with pytest.raises(Exception) as raised:  # noqa: PT011
        RUNNERS.build(cfg).train()
    if isinstance(raised.value, UserError):
        raise raised.value
    assert 'Nowhere' in str(raised.value)


def plan(cfg, processes=1):
    """Return what a plan says of it."""
    try:
        return planned.why_not(cfg, processes)
    except UserError as error:
        return str(error)


@pytest.mark.parametrize(('strategy', 'cfg', 'message'), REFUSED)
def test_what_a_strategy_cannot_do_is_said_before_data_are_read_and_by_a_plan_alike(
    strategy, cfg, message, tmp_path
):
    with pytest.raises(UserError, match=re.escape(message)) as said:
        training(config(strategy, cfg, tmp_path))
    assert plan(config(strategy, cfg, tmp_path)) == str(said.value)


@pytest.mark.parametrize(
    ('strategy', 'cfg'),
    [
        (FSDP2, QUANTIZED),
        (FSDP2, dict(find_unused_parameters=False, model_wrapper_cfg=None, compile=False)),
        (ZERO2, dict(find_unused_parameters=False, model_wrapper_cfg=None, compile=False)),
        (
            dict(FSDP2, sharded_checkpoints=True),
            dict(
                default_hooks=dict(
                    checkpoint=dict(type='CheckpointHook', out_dir='there', published_keys=None)
                )
            ),
        ),
        (ZERO3, dict(QUANTIZED, peft=dict(method=dict(type='LoRA')))),
        (FSDP2, dict(custom_hooks=[dict(type='EMAHook'), dict(type='mmdet.MeanTeacherHook')])),
        (
            FSDP2,
            dict(
                optim_wrapper=dict(clip_grad=dict(max_norm=1)),
                default_hooks=dict(
                    checkpoint=dict(type='CheckpointHook', published_keys=['meta']), logger=None
                ),
            ),
        ),
        (ZERO2, dict(custom_hooks=[dict(type='EMAHook')])),
        (ZERO3, dict(custom_hooks=[dict(type='mmdet.NumClassCheckHook')])),
        (
            ZERO2,
            dict(
                optim_wrapper=dict(accumulative_counts=2),
                default_hooks=dict(checkpoint=dict(EVERY, interval=4)),
            ),
        ),
        (
            dict(ZERO2, zero_optimization=dict(stage=1)),
            dict(optim_wrapper=dict(accumulative_counts=2), default_hooks=dict(checkpoint=EVERY)),
        ),
        (dict(type='mmadapt.DDPStrategy'), dict(find_unused_parameters=True)),
    ],
)
def test_what_a_strategy_can_do_neither_refuses(strategy, cfg, tmp_path):
    training(config(strategy, cfg, tmp_path))
    assert plan(config(strategy, cfg, tmp_path)) == ''


@pytest.mark.parametrize('section', [None, dict(enabled=False)])
def test_a_gpu_that_only_emulates_bfloat16_is_refused_by_both(section, monkeypatch, tmp_path):
    monkeypatch.setattr(settings, 'autocast_dtype', lambda: torch.float16)
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda: 'Tesla T4')
    cfg = config(dict(ZERO2, torch_autocast=section), {}, tmp_path)
    if section is not None:
        training(cfg)
        assert plan(cfg) == ''
        return
    message = (
        r'write strategy.torch_autocast=dict\(enabled=False\), or train with mmadapt.DDPStrategy .*'
        'this Tesla T4 does not compute in bfloat16'
    )
    with pytest.raises(UserError, match=message) as said:
        training(cfg)
    assert plan(cfg) == str(said.value)


def test_what_only_a_training_does_is_not_refused_to_an_evaluation(tmp_path):
    hooks = [dict(type='EMAHook')]
    for cls, options in (
        (FSDP2Strategy, dict(meta_init=True)),
        (DeepSpeedStrategy, dict(zero_optimization=dict(stage=3))),
    ):
        strategy = cls(**options, work_dir=str(tmp_path))
        strategy.runner = SimpleNamespace(cfg=dict(QUANTIZED, custom_hooks=hooks), hooks=[])
        strategy.check_run(None, compile=False)
        with pytest.raises(UserError, match=r'peft\.quant'):
            strategy.check_run(dict(optimizer=dict(type='AdamW')), compile=False)


def test_to_compile_is_refused_whoever_asks_and_asking_changes_no_settings(tmp_path):
    wrapper = dict(
        type='OptimWrapper', clip_grad=dict(max_norm=3), optimizer=dict(type='AdamW', lr=1e-4)
    )
    for cls in (FSDP2Strategy, DeepSpeedStrategy):
        strategy = cls(work_dir=str(tmp_path))
        strategy.runner = SimpleNamespace(cfg={}, hooks=[])
        with pytest.raises(UserError, match='compile: a model is not compiled'):
            strategy.check_run(wrapper, compile=True)
    before = copy.deepcopy(strategy._settings)
    strategy.check_run(wrapper, compile=False)
    assert strategy._settings == before


def test_an_optimizer_over_what_is_not_sharded_yet_is_refused(tmp_path):
    wrapper = OptimWrapper(torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=1))
    strategy = FSDP2Strategy(work_dir=str(tmp_path))
    strategy.runner = SimpleNamespace(cfg={}, hooks=[])
    with pytest.raises(UserError, match='optim_wrapper must be a dict, got OptimWrapper'):
        strategy.check_run(wrapper, compile=False)


def test_a_decay_by_dimensions_is_refused_where_a_trained_scale_would_get_one(tmp_path):
    model = nn.Sequential(Scale(2.0), Scale(3.0), nn.Linear(2, 2))
    paramwise = dict(optim_wrapper=dict(paramwise_cfg=dict(flat_decay_mult=0.5)))
    strategy = FSDP2Strategy(work_dir=str(tmp_path))
    strategy.runner = SimpleNamespace(cfg=config(FSDP2, paramwise, tmp_path), hooks=[])
    strategy._units = []
    strategy._kinds = Counter()
    model[0].scale.requires_grad_(False)
    message = 'optim_wrapper.paramwise_cfg.flat_decay_mult would take 1.scale too, which has one'
    with pytest.raises(UserError, match=re.escape(message)) as said:
        strategy.wrap(model)
    assert model[1].scale.dim() == 0  # nothing is sharded yet
    cfg = config(FSDP2, paramwise, tmp_path)
    assert planned.why_not_built(cfg, trained_scalars(model)) == str(said.value)
    zero = dict(optim_wrapper=dict(paramwise_cfg=dict(flat_decay_mult=0.0)))
    assert 'would take 1.scale' in planned.why_not_built(config(FSDP2, zero, tmp_path), ['1.scale'])
    assert planned.why_not_built(config(FSDP2, {}, tmp_path), ['1.scale']) == ''
    assert planned.why_not_built(config(ZERO2, paramwise, tmp_path), ['1.scale']) == ''
    model[1].scale.requires_grad_(False)
    assert planned.why_not_built(cfg, trained_scalars(model)) == ''
    strategy.wrap(model)


def test_a_plan_sees_the_hooks_that_a_training_would_have(tmp_path):
    """Its own measured run has neither a schedule nor hooks."""
    file = tmp_path / 'config.py'
    file.write_text(
        """
_base_ = 'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py'
runner_type = 'FlexibleRunner'
strategy = dict(type='mmadapt.FSDP2Strategy', sharded_checkpoints=True)
default_hooks = dict(checkpoint=dict(published_keys=['meta', 'state_dict']))
custom_hooks = []
"""
    )
    setting = Setting(str(file), {}, (64, 96), 1, 2, 1, 1, 'cpu', 1)
    rows = plan_rows([parse_recipe('config')], setting, Model(), 2**40, lambda line: None)
    assert 'published_keys makes a file' in rows[0]['reason']
    assert not rows[0]['fits']
