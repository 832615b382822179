"""DINO with Swin under DeepSpeed's autocast, with float32 islands and recomputed activations."""

import importlib.util
import math
from pathlib import Path

import pytest
from mmengine.config import Config
from several_runs import logged, run_several

from mmadapt.files import read_adapter

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec('deepspeed') is None, reason='deepspeed is not installed'
)
BASES = Path(__file__).parents[2] / 'configs' / '_base_'
FULL = dict(method=None, targets='all', head='train', norm='train')
MEMORY = dict(
    checkpoint=[
        'SwinBlock',
        'DeformableDetrTransformerEncoderLayer',
        'DeformableDetrTransformerDecoderLayer',
    ],
    fp32_modules='auto',
)
QLORA = dict(method=dict(type='LoRA', r=4), targets='all-linear', quant=dict(bits=4))
RARELY = """
default_hooks['checkpoint'] = dict(_delete_=True, type='CheckpointHook', interval=99)
train_cfg['val_begin'] = 99
"""
STEPS = dict(zero2=12, zero3=2, float32=1)


@pytest.fixture(scope='module')
def runs(config, tmp_path_factory):
    """Fit two images, with the strategies of the files for users; return their folder."""
    folder = tmp_path_factory.mktemp('runs')
    plan = {}
    for name, steps in STEPS.items():
        file = 'deepspeed_zero3.py' if name == 'zero3' else 'deepspeed_zero2.py'
        strategy = Config.fromfile(BASES / 'strategies' / file).strategy.to_dict()
        strategy['torch_autocast']['enabled'] = name != 'float32'
        if name == 'zero3':  # nothing of so small a model would be sharded
            strategy['zero_optimization']['stage3_param_persistence_threshold'] = 0
        plan[name] = dict(
            config=config(
                name, strategy, FULL, epochs=steps, images=2, extra=f'memory = {MEMORY}\n{RARELY}'
            )
        )
    run_several(folder, plan)
    return folder


def test_the_loss_falls_and_no_step_is_skipped(runs):
    found, norms = logged(runs / 'zero2'), logged(runs / 'zero2', 'grad_norm')
    assert len(found) == len(norms) == STEPS['zero2']
    assert all(math.isfinite(value) for value in (*found, *norms))
    assert sum(found[-3:]) < 0.9 * sum(found[:3])
    assert not logged(runs / 'zero2', 'skipped_steps')


@pytest.mark.parametrize('name', ['zero2', 'zero3'])
def test_it_computes_in_bfloat16_and_about_what_float32_gives(runs, name):
    found, wanted = logged(runs / name), logged(runs / 'float32')
    assert len(found) == STEPS[name]
    assert found[0] != wanted[0]
    assert found[0] == pytest.approx(wanted[0], rel=0.1)


def test_a_quantized_base_trains_as_under_ddp(config, tmp_path):
    pytest.importorskip('bitsandbytes', reason='bitsandbytes is not installed')
    strategies = dict(ddp=dict(type='DDPStrategy')) | {
        f'zero{stage}': dict(
            type='mmadapt.DeepSpeedStrategy',
            torch_autocast=dict(enabled=False),
            zero_optimization=dict(stage=stage),
        )
        for stage in (1, 2)
    }
    run_several(
        tmp_path,
        {
            name: dict(
                config=config(f'quant_{name}', strategy, QLORA, images=4, extra=RARELY, size=96)
            )
            for name, strategy in strategies.items()
        },
    )
    wanted = read_adapter(str(tmp_path / 'ddp' / 'adapter'))[1]
    assert len(logged(tmp_path / 'ddp')) == 2
    for name in ('zero1', 'zero2'):
        assert logged(tmp_path / name) == pytest.approx(logged(tmp_path / 'ddp'), rel=1e-5)
        ours = read_adapter(str(tmp_path / name / 'adapter'))[1]
        assert ours.keys() == wanted.keys()
        assert all((ours[key] - value).abs().max() < 1e-5 for key, value in wanted.items())
