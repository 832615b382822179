"""What is translated of a config for DeepSpeed, and what is refused with what to write instead."""

import json
import re

import pytest
import torch
from mmengine.optim import OptimWrapper

from mmadapt import UserError
from mmadapt.optim import AutocastOptimWrapper
from mmadapt.strategies.deepspeed import DeepSpeedStrategy
from mmadapt.strategies.deepspeed.optimization import read_optim_wrapper
from mmadapt.strategies.deepspeed.settings import parse_settings

ADAMW = dict(type='AdamW', lr=1e-4)


class AdamOfAnotherPackage(torch.optim.Adam):
    __module__ = 'bitsandbytes.optim.adam'


def settings(config=None, **sections):
    return parse_settings(config, sections)


def read(settings=None, optimizer=ADAMW, **cfg):
    settings = {} if settings is None else settings
    return (*read_optim_wrapper(dict(optimizer=optimizer, **cfg), settings), settings)


def test_without_anything_said_it_is_zero_2_and_autocast_that_rounds_no_gradient():
    parsed, said = settings()
    assert parsed['zero_optimization'] == dict(stage=2)
    assert parsed['torch_autocast'] == dict(
        enabled=True, dtype='bfloat16', lower_precision_safe_modules=[]
    )
    assert parsed['zero_allow_untested_optimizer'] is True
    assert parsed['zero_force_ds_cpu_optimizer'] is False
    assert said == []


def test_a_seed_style_config_is_translated_and_says_so(tmp_path):
    old = dict(
        fp16=dict(enabled=False, loss_scale=0),
        bf16=dict(enabled=True),
        inputs_to_half=[0],
        exclude_frozen_parameters=True,
        train_batch_size=16,
        train_micro_batch_size_per_gpu=2,
        zero_optimization=dict(
            stage=3,
            reduce_bucket_size='2e8',
            allgather_bucket_size=2e8,
            cpu_offload=True,
            cpu_offload_params=True,
            offload_optimizer=dict(device='cpu', ratio=1.0),
            stage3_gather_fp16_weights_on_model_save=True,
        ),
    )
    (tmp_path / 'zero.json').write_text(json.dumps(old))
    parsed, said = settings(str(tmp_path / 'zero.json'))
    assert (parsed, said) == settings(old) == settings(None, **old)
    assert parsed['zero_optimization'] == dict(
        stage=3,
        reduce_bucket_size=200_000_000,
        allgather_bucket_size=200_000_000,
        offload_optimizer=dict(device='cpu', ratio=1),
        offload_param=dict(device='cpu'),
    )
    assert all(isinstance(v, int) for k, v in parsed['zero_optimization'].items() if 'size' in k)
    assert parsed['torch_autocast']['enabled']
    assert not {'fp16', 'bf16', 'inputs_to_half', 'train_batch_size'} & set(parsed)
    assert len(said) == 8
    for name in (
        'bf16',
        'inputs_to_half',
        'exclude_frozen_parameters',
        'train_batch_size',
        'train_micro_batch_size_per_gpu',
        'cpu_offload is now offload_optimizer',
        'cpu_offload_params is now offload_param',
        'stage3_gather_fp16_weights_on_model_save',
    ):
        assert sum(name in line for line in said) == 1


def test_what_mmadapt_decides_itself_is_left_out_and_says_so():
    own, _ = settings()
    for key in ('zero_allow_untested_optimizer', 'zero_force_ds_cpu_optimizer'):
        parsed, said = settings({key: not own[key]})
        assert parsed == own
        assert [line.startswith(f'strategy.{key} is not needed') for line in said] == [True]


def test_float32_is_a_setting_and_what_the_config_says_of_autocast_is_kept():
    parsed, said = settings(torch_autocast=dict(enabled=False), bf16=dict(enabled=False))
    assert parsed['torch_autocast'] == dict(enabled=False)
    assert said == []
    safe = ['torch.nn.Linear']
    parsed, _ = settings(
        dict(
            torch_autocast=dict(
                enabled=True, dtype='torch.bfloat16', lower_precision_safe_modules=safe
            )
        )
    )
    assert parsed['torch_autocast'] == dict(
        enabled=True, dtype='bfloat16', lower_precision_safe_modules=safe
    )


@pytest.mark.parametrize(
    ('sections', 'message'),
    [
        (
            dict(fp16=dict(enabled=True, loss_scale=0)),
            'write torch_autocast=dict(enabled=True, dtype=',
        ),
        (dict(fp16=dict(loss_scale=0)), 'strategy.fp16 casts every parameter'),
        (dict(amp=dict(enabled=True)), 'strategy.amp is Apex'),
        (
            dict(torch_autocast=dict(enabled=True, dtype='float16')),
            "dtype='float16': DeepSpeed clips",
        ),
        (
            dict(activation_checkpointing=dict(cpu_checkpointing=True)),
            'memory=dict(checkpoint=[...])',
        ),
        (dict(config=dict(optimizer=dict(type='Adam'))), 'write it as optim_wrapper.optimizer'),
        (dict(config=dict(scheduler=dict(type='WarmupLR'))), 'write it as param_scheduler'),
        (
            dict(zero_optimisation=dict(stage=2)),
            "has no key 'zero_optimisation' under DeepSpeedStrategy; nearest: 'zero_optimiz",
        ),
        (
            dict(config=dict(gradient_cliping=1)),
            "no key 'gradient_cliping' under DeepSpeedStrategy; nearest: 'gradient_clipping'",
        ),
        (dict(config='nowhere.json'), 'there is no file nowhere.json'),
        (dict(config=[1]), 'must be a dict or the name of a JSON file'),
        (
            dict(zero_optimization=dict(stage=0)),
            'stage=0 is not one of [1, 2, 3]; without sharding',
        ),
        (dict(zero_optimization=dict(reduce_bucket_size=1)), 'stage=None is not one of [1, 2, 3]'),
        (dict(zero_optimization=dict(stage=2, offload_param=dict(device='cpu'))), 'needs stage=3'),
        (
            dict(zero_optimization=dict(stage=3, offload_param=dict(device='nvme'))),
            "offload_param.device='nvme' is not one of ['none', 'cpu']",
        ),
    ],
)
def test_what_cannot_be_done_is_refused(sections, message):
    with pytest.raises(UserError, match=re.escape(message)) as error:
        parse_settings(sections.pop('config', None), sections)
    assert '\n' not in str(error.value)


def test_a_file_that_is_no_json_is_named(tmp_path):
    (tmp_path / 'zero.json').write_text('{')
    with pytest.raises(UserError, match='zero.json is not JSON'):
        settings(str(tmp_path / 'zero.json'))


def test_clipping_and_accumulation_are_deepspeeds_and_are_logged_as_ever():
    cfg, said, made = read(
        type='OptimWrapper',
        accumulative_counts=4,
        clip_grad=dict(max_norm=0.1, norm_type=2),
        paramwise_cfg=dict(norm_decay_mult=0.0),
    )
    assert made == dict(gradient_accumulation_steps=4, gradient_clipping=0.1)
    assert cfg['clip_grad'] == dict(max_norm=0.1)
    assert cfg['accumulative_counts'] == 4
    assert cfg['paramwise_cfg'] == dict(norm_decay_mult=0.0)
    assert issubclass(cfg['type'], OptimWrapper)
    assert said == []
    # MMEngine's strategy wants them as its own arguments.
    cfg, _, made = read(dict(gradient_accumulation_steps=2, gradient_clipping=0.5))
    assert (cfg['accumulative_counts'], cfg['clip_grad']) == (2, dict(max_norm=0.5))
    assert made == dict(gradient_accumulation_steps=2, gradient_clipping=0.5)
    cfg, _, made = read()
    assert (cfg['accumulative_counts'], cfg['clip_grad']) == (1, None)
    assert made == dict(gradient_accumulation_steps=1, gradient_clipping=0.0)


@pytest.mark.parametrize(
    'kind',
    [
        dict(type='AmpOptimWrapper', loss_scale='dynamic'),
        dict(type='AmpOptimWrapper', dtype='float16'),
        dict(type=AutocastOptimWrapper, dtype='bfloat16'),
    ],
)
def test_mixed_precision_of_the_wrapper_becomes_deepspeeds(kind):
    for section in (None, dict(enabled=True, lower_precision_safe_modules=['torch.nn.Linear'])):
        given, _ = settings(torch_autocast=section)
        cfg, said, made = read(dict(given), **kind)
        assert made['torch_autocast'] == given['torch_autocast']
        assert made['torch_autocast']['dtype'] == 'bfloat16'
        assert not {'loss_scale', 'dtype'} & set(cfg)
        assert len(said) == 1
        assert 'torch_autocast takes its place' in said[0]
    off, _ = settings(torch_autocast=dict(enabled=False))
    with pytest.raises(UserError, match=r'strategy.torch_autocast=dict\(enabled=False\) contrad'):
        read(off, **kind)


@pytest.mark.parametrize(
    ('cfg', 'made', 'message'),
    [
        (dict(clip_grad=dict(type='value', clip_value=1)), {}, 'clips by the 2-norm'),
        (dict(clip_grad=dict(max_norm=1, norm_type=1)), {}, 'write clip_grad=dict(max_norm=...)'),
        (
            dict(clip_grad=dict(max_norm=1)),
            dict(gradient_clipping=0.1),
            'max_norm=1 and strategy.gradient_clipping=0.1 contradict',
        ),
        (
            dict(accumulative_counts=2),
            dict(gradient_accumulation_steps=4),
            'accumulative_counts=2 and strategy.gradient_accumulation_steps=4 contradict',
        ),
        (dict(type='MyOptimWrapper'), {}, "write type='OptimWrapper'"),
        (dict(optimizer=dict(type='Adafactor')), {}, "'Adafactor' does not work under"),
        (dict(optimizer=dict(type='TorchAdafactor')), {}, "'TorchAdafactor' does not work under"),
        (
            dict(optimizer=dict(type='mmpretrain.LAMB')),
            {},
            'needs each parameter, whole, in its shape',
        ),
        (
            dict(optimizer=dict(type=AdamOfAnotherPackage)),
            {},
            "'AdamOfAnotherPackage' does not work",
        ),
        (
            dict(clip_grad=dict(max_norm=1)),
            dict(zero_optimization=dict(compute_grad_norm=False)),
            'compute_grad_norm=False: clipping to 1 needs the norm',
        ),
        (
            dict(optimizer=dict(type=torch.optim.Adagrad)),
            {},
            'without the groups of its parameters',
        ),
        (
            dict(optimizer=dict(type='ZeroRedundancyOptimizer', optimizer_type='Adam')),
            {},
            'name the optimizer in it',
        ),
        (dict(optimizer=None, generator=dict(optimizer=ADAMW)), {}, 'trains with one optimizer'),
    ],
)
def test_what_zero_cannot_optimize_is_refused(cfg, made, message):
    with pytest.raises(UserError, match=re.escape(message)):
        read(made, **cfg)


def test_a_strategy_without_our_runner_names_it(tmp_path):
    for stage in (2, 3):
        strategy = DeepSpeedStrategy(zero_optimization=dict(stage=stage), work_dir=str(tmp_path))
        with pytest.raises(UserError, match="DeepSpeedStrategy needs mmadapt's FlexibleRunner"):
            strategy.prepare(dict(type='Nothing'), optim_wrapper=dict(optimizer=ADAMW))


def test_a_folder_of_mmengines_deepspeed_is_refused_with_what_to_do(tmp_path):
    folder = tmp_path / 'epoch_1.pth'
    folder.mkdir()
    torch.save(dict(module={}), folder / 'mp_rank_00_model_states.pt')
    strategy = DeepSpeedStrategy(work_dir=str(tmp_path))
    with pytest.raises(UserError, match='h is a folder.* of DeepSpeed .* to be converted'):
        strategy.load_checkpoint(str(folder))
