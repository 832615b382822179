"""Where `--amp` of the training tool puts mixed precision."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.optim import OptimWrapper

from mmadapt import UserError
from mmadapt.cli import amp, set_amp, without_islands
from mmadapt.optim import AutocastOptimWrapper
from mmadapt.strategies.deepspeed import settings

ROOT = Path(__file__).parents[2]
SSF = dict(method=dict(type='SSF'))  # nothing of it is drawn at random
OPTIMIZER = dict(type='SGD', lr=0.1)
AUTOCAST = dict(enabled=True, dtype='bfloat16', lower_precision_safe_modules=[])
DEEPSPEED = dict(
    runner_type='FlexibleRunner',
    optim_wrapper=dict(type='DeepSpeedOptimWrapper', optimizer=OPTIMIZER),
)


ISLANDS = "; float32 where this model needs it (memory.fp32_modules='auto')"


@pytest.fixture
def old_gpu(monkeypatch):
    """Pretend that there is a GPU of 2018."""
    for module in (amp, settings):
        monkeypatch.setattr(module, 'autocast_dtype', lambda: torch.float16)
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda: 'Tesla T4')


pytestmark = pytest.mark.skipif(get_device() != 'cpu', reason='this machine has an accelerator')


@pytest.mark.parametrize(
    'kind',
    [
        dict(),
        dict(type='OptimWrapper'),
        dict(type=OptimWrapper),
        dict(type='mmengine.OptimWrapper'),
    ],
)
@pytest.mark.parametrize(
    'more',
    [
        dict(),
        dict(runner_type='FlexibleRunner', strategy=dict(type='FSDP2Strategy')),
        dict(strategy=dict(type='DeepSpeedStrategy')),
    ],
)  # the stock runner has no strategies
def test_an_ordinary_optimizer_wrapper_gets_autocast(kind, more):
    cfg = Config(
        dict(optim_wrapper=dict(kind, optimizer=OPTIMIZER, clip_grad=dict(max_norm=0.1)), **more)
    )
    assert set_amp(cfg) == f'--amp: autocast in bfloat16 (optim_wrapper.dtype){ISLANDS}'
    assert cfg.optim_wrapper == dict(
        type='AutocastOptimWrapper',
        dtype='bfloat16',
        optimizer=OPTIMIZER,
        clip_grad=dict(max_norm=0.1),
    )


def test_a_device_without_bfloat16_gets_float16_and_a_scaler(old_gpu):
    cfg = Config(dict(optim_wrapper=dict(optimizer=OPTIMIZER)))
    assert set_amp(cfg) == (
        '--amp: autocast in float16, with a gradient scaler (optim_wrapper.dtyp'
        f'e), because this Tesla T4 does not compute in bfloat16{ISLANDS}'
    )
    assert cfg.optim_wrapper.dtype == 'float16'


@pytest.mark.parametrize('own', [dict(), dict(torch_autocast=dict(enabled=False))])
def test_deepspeed_has_none_for_a_device_without_bfloat16(own, old_gpu):
    cfg = Config(dict(DEEPSPEED, strategy=dict(type='DeepSpeedStrategy', **own)))
    with pytest.raises(
        UserError,
        match=(
            r'--amp under DeepSpeedStrategy: leave it out and write strategy.torch_autocast=dict\('
            r'enabled=False\), or train with mmadapt.DDPStrategy or .* Tesla T4 does not compute'
        ),
    ):
        set_amp(cfg)


@pytest.mark.parametrize(
    ('wrapper', 'line'),
    [
        (
            dict(type='AmpOptimWrapper', loss_scale=512.0, dtype='float16'),
            "the config's own AmpOptimWrapper is kept, in float16",
        ),
        (
            dict(type='AmpOptimWrapper'),
            "the config's own AmpOptimWrapper is kept, in the default of AmpOptimWrapper",
        ),
        (
            dict(type=AutocastOptimWrapper, dtype=torch.bfloat16),
            "the config's own AutocastOptimWrapper is kept, in bfloat16",
        ),
    ],
)
def test_what_the_config_says_itself_is_kept(wrapper, line):
    cfg = Config(dict(optim_wrapper=dict(wrapper, optimizer=OPTIMIZER)))
    assert set_amp(cfg) == f'--amp: {line}{ISLANDS}'
    assert cfg.optim_wrapper == dict(wrapper, optimizer=OPTIMIZER)


def test_a_dtype_of_the_config_is_taken():
    cfg = Config(dict(optim_wrapper=dict(dtype='float16', optimizer=OPTIMIZER)))
    assert set_amp(cfg).startswith('--amp: autocast in float16, with a gradient scaler (optim_')
    assert cfg.optim_wrapper.dtype == 'float16'


@pytest.mark.parametrize('name', ['DeepSpeedStrategy', 'mmadapt.DeepSpeedStrategy'])
@pytest.mark.parametrize('own', [dict(), dict(zero_optimization=dict(stage=2)), None, 'ds.json'])
def test_deepspeed_gets_its_own_autocast(name, own, tmp_path):
    if own == 'ds.json':
        own = str(tmp_path / own)
        Path(own).write_text(json.dumps(dict(gradient_clipping=0.1)))
    cfg = Config(dict(DEEPSPEED, strategy=dict(type=name, config=own)))
    line = set_amp(cfg)
    assert line == f'--amp: autocast in bfloat16 (strategy.config.torch_autocast.dtype){ISLANDS}'
    kept = own if isinstance(own, dict) else dict(gradient_clipping=0.1) if own else {}
    assert cfg.strategy.config == dict(kept, torch_autocast=AUTOCAST)
    assert cfg.optim_wrapper == DEEPSPEED['optim_wrapper']


@pytest.mark.parametrize(
    'own',
    [
        dict(config=dict(bf16=dict(enabled=True))),
        dict(fp16=dict(enabled=True, loss_scale=0)),
        dict(config=dict(torch_autocast=dict(enabled=True, dtype='float16'))),
    ],
)
def test_a_precision_of_deepspeeds_own_is_kept(own):
    cfg = Config(dict(DEEPSPEED, strategy=dict(type='DeepSpeedStrategy', **own)))
    assert re.match(
        "--amp: the config's own DeepSpeed section (bf16|fp16|torch_autocast) is kept;",
        set_amp(cfg),
    )
    assert cfg.strategy.get('config') in ({}, own.get('config'))


def test_a_section_that_is_off_is_none():
    cfg = Config(
        dict(
            DEEPSPEED,
            strategy=dict(
                type='DeepSpeedStrategy',
                fp16=dict(enabled=False),
                torch_autocast=dict(enabled=False),
                config=dict(bf16=dict()),
            ),
        )
    )
    assert 'torch_autocast.dtype' in set_amp(cfg)
    assert cfg.strategy.config.torch_autocast == AUTOCAST
    assert 'torch_autocast' not in cfg.strategy


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        (dict(), r'--amp: the config has no optim_wrapper=dict\(optimizer='),
        (
            dict(optim_wrapper=dict(generator=dict(optimizer=OPTIMIZER))),
            '--amp: the config has no opt',
        ),
        (
            dict(optim_wrapper=dict(type='ApexOptimWrapper', optimizer=OPTIMIZER)),
            '--amp takes the place of an OptimWrapper, the config has a ApexOptimWrapper; leave out',
        ),
        (
            dict(DEEPSPEED, strategy=dict(type='DeepSpeedStrategy', config='gone.json')),
            'strategy.config: there is no file gone.json',
        ),
        (
            dict(DEEPSPEED, strategy=dict(type='ColossalAIStrategy')),
            '--amp: ColossalAIStrategy has its own mixed precision',
        ),
    ],
)
def test_a_config_without_a_place_for_it_is_refused(cfg, message):
    with pytest.raises(UserError, match=message):
        set_amp(Config(cfg))


@pytest.mark.parametrize(
    ('cfg', 'memory', 'hooks'),
    [
        (dict(), dict(fp32_modules='auto'), ['MemoryHook']),
        (dict(memory=None, custom_hooks=None), dict(fp32_modules='auto'), ['MemoryHook']),
        (
            dict(memory=dict(checkpoint=['A']), custom_hooks=[dict(type='EMAHook')]),
            dict(checkpoint=['A'], fp32_modules='auto'),
            ['EMAHook', 'MemoryHook'],
        ),
        (dict(custom_hooks=[dict(type='MemoryHook')]), dict(fp32_modules='auto'), ['MemoryHook']),
        (
            dict(custom_hooks=[dict(type='PEFTInjectHook')]),
            dict(fp32_modules='auto'),
            ['PEFTInjectHook'],
        ),
        # A strategy reads the key by itself.
        (
            dict(runner_type='FlexibleRunner', strategy=dict(type='FSDP2Strategy')),
            dict(fp32_modules='auto'),
            [],
        ),
        # What a config says itself is kept.
        (dict(memory=dict(fp32_modules=['neck'])), dict(fp32_modules=['neck']), []),
        (dict(memory=dict(fp32_modules=[])), dict(fp32_modules=[]), []),
    ],
)
def test_what_a_model_needs_in_float32_keeps_it_where_the_config_says_nothing(cfg, memory, hooks):
    cfg = Config(dict(optim_wrapper=dict(optimizer=OPTIMIZER), **cfg))
    says = 'fp32_modules' in (cfg.get('memory') or {})
    assert (ISLANDS in set_amp(cfg)) is not says
    assert cfg.memory == memory
    assert [hook['type'] for hook in cfg.get('custom_hooks') or []] == hooks
    assert without_islands(cfg) is None


@pytest.mark.parametrize(
    ('cfg', 'line'),
    [
        (
            dict(optim_wrapper=dict(type='AmpOptimWrapper')),
            "optim_wrapper.type='AmpOptimWrapper' comp",
        ),
        (
            dict(optim_wrapper=dict(type=AutocastOptimWrapper), memory=dict(every=1)),
            "optim_wrapper.type='AutocastOptimWrapper' comp",
        ),
        (
            dict(DEEPSPEED, strategy=dict(type='mmadapt.DeepSpeedStrategy')),
            'strategy.torch_autocast c',
        ),
        (
            dict(
                DEEPSPEED,
                strategy=dict(
                    type='mmadapt.DeepSpeedStrategy',
                    config=dict(torch_autocast=dict(enabled=False)),
                ),
            ),
            None,
        ),
        (dict(optim_wrapper=dict(type='OptimWrapper')), None),
        (dict(), None),
        (dict(optim_wrapper=dict(type='AmpOptimWrapper'), memory=dict(fp32_modules=[])), None),
    ],
)
def test_a_config_that_asks_for_a_low_precision_itself_is_told_of_it(cfg, line):
    found = without_islands(Config(cfg))
    assert found is None if line is None else found.startswith(line)
    assert line is None or "memory = dict(fp32_modules='auto')" in found


def test_a_two_stage_detector_trains_with_amp_and_without_a_word_in_its_config(tmp_path):
    """Under our tool; and under MMDetection's own with the wrapper and the hook in the config."""
    from stock_runs import losses, run, write_base, write_config, write_data

    write_data(tmp_path / 'data')
    write_base(tmp_path / 'base.pth', 'faster_rcnn')

    def config(name, extra):
        (tmp_path / name).mkdir()
        return write_config(
            tmp_path / name,
            'faster_rcnn',
            tmp_path / 'data',
            tmp_path / 'base.pth',
            SSF,
            extra="train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=2, "
            f'val_interval=9)\n{extra}',
        )

    printed = run(
        ROOT / 'tools' / 'train.py', config('ours', ''), '--amp', '--work-dir', tmp_path / 'run'
    )
    assert f'--amp: autocast in bfloat16 (optim_wrapper.dtype){ISLANDS}' in printed
    assert 'memory: float32 under autocast: rpn_head.rpn_cls, rpn_head.rpn_reg, ro' in printed
    stock = config(
        'stock',
        "optim_wrapper.update(type='AutocastOptimWrapper', dtype='bfloat16')\n"
        "memory = dict(fp32_modules='auto')\n",
    )
    run('train.py', stock, '--work-dir', tmp_path / 'stock_run')
    found = losses(tmp_path / 'run')
    assert len(found) == 2
    assert all(math.isfinite(loss) for loss in found.values())
    assert losses(tmp_path / 'stock_run') == found


def test_the_tool_trains_and_validates_with_islands_under_both_runners_and_resumes(tmp_path):
    from stock_runs import environment, losses, write_base, write_config, write_data

    write_data(tmp_path / 'data')
    write_base(tmp_path / 'base.pth', 'rtmdet')

    def train(runner, *options):
        config = write_config(
            tmp_path,
            'rtmdet',
            tmp_path / 'data',
            tmp_path / 'base.pth',
            SSF,
            ema=False,
            extra=(
                f"runner_type = '{runner}'\nval_cfg = dict(fp16=True)\n"
                "memory = dict(fp32_modules=['bbox_head.rtm_cls', 'bbox_head.rtm_reg'])\n"
            ),
        )
        work = tmp_path / runner
        done = subprocess.run(
            [
                sys.executable,
                '-W',
                'ignore',
                str(ROOT / 'tools' / 'train.py'),
                str(config),
                '--amp',
                '--work-dir',
                str(work),
                *options,
            ],
            env=environment(),
            timeout=300,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-4000:]
        assert '--amp: autocast in bfloat16 (optim_wrapper.dtype)\n' in done.stdout
        assert 'memory: float32 under autocast: bbox_head.rtm_cls, bbox_head' in done.stdout
        assert 'coco/bbox_mAP' in done.stdout
        return losses(work)

    by_runner = train('Runner')
    assert len(by_runner) == 6
    assert all(math.isfinite(loss) and loss > 0 for loss in by_runner.values())
    assert train('FlexibleRunner') == by_runner
    resumed = train('FlexibleRunner', '--resume', '--cfg-options', 'train_cfg.max_epochs=2')
    assert sorted(resumed) == list(range(1, 13))
