"""DINO with Swin under DeepSpeed: what DDP trains, writes and resumes, on two processes."""

import importlib.util

import pytest
import torch
from several_runs import checkpoint, difference, logged, run_several

from mmadapt.files import read_adapter, read_checkpoint

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec('deepspeed') is None, reason='deepspeed is not installed'
)
FULL = dict(method=None, targets='all', head='train', norm='train')
LORA = dict(method=dict(type='LoRA', r=4, alpha=8, dropout=0.1), targets='all-linear')
DDP = dict(type='DDPStrategy')
EMA = """
custom_hooks = [dict(type='EMAHook', momentum=0.2), dict(type='PEFTInjectHook')]
"""


def zero(stage, **options):
    sizes = dict(reduce_bucket_size='1e5')
    if stage == 3:
        sizes['stage3_param_persistence_threshold'] = 0  # nothing of so small a model is sharded
    return dict(
        type='mmadapt.DeepSpeedStrategy',
        torch_autocast=dict(enabled=False),
        zero_optimization=dict(stage=stage, **sizes, **options),
    )


@pytest.fixture(scope='module')
def runs(config, tmp_path_factory):
    """Train all of it for three iterations, LoRA for three of two each; return their folder."""
    folder = tmp_path_factory.mktemp('runs')
    strategies = dict(ddp=DDP, zero2=zero(2), zero3=zero(3))
    plan = {
        name: dict(config=config(name, strategy, FULL)) for name, strategy in strategies.items()
    }
    for name, strategy in strategies.items():
        plan[f'lora_{name}'] = dict(
            config=config(
                f'lora_{name}',
                strategy,
                LORA,
                epochs=3,
                images=4,
                accumulative_counts=2,
                extra='' if name == 'zero3' else EMA,
            )
        )
    for name, whose in (('zero2', 'zero2'), ('zero3', 'zero3'), ('zero2', 'ddp'), ('ddp', 'zero2')):
        plan[f'{name}_after_{whose}'] = dict(
            config=plan[f'lora_{name}']['config'], resume=folder / f'lora_{whose}' / 'epoch_2.pth'
        )
    log = run_several(folder, plan)
    (folder / 'log.txt').write_text(log)
    return folder


@pytest.mark.parametrize('name', ['zero2', 'zero3'])
def test_every_stage_makes_the_steps_of_ddp(runs, name):
    assert len(logged(runs / 'ddp')) == 3
    assert logged(runs / name) == pytest.approx(logged(runs / 'ddp'), rel=1e-5)
    norms = logged(runs / 'ddp', 'grad_norm')
    assert min(norms) > 1, 'they are to be clipped, to 0.1'
    assert logged(runs / name, 'grad_norm') == pytest.approx(norms, rel=1e-4)
    ours, wanted = checkpoint(runs / name, 1), checkpoint(runs / 'ddp', 1)
    assert ours.keys() == wanted.keys()
    assert difference(ours['state_dict'], wanted['state_dict']) < 1e-5
    base = read_checkpoint(str(next(runs.parent.glob('data*')) / 'base.pth'))['state_dict']
    moved = [
        not torch.equal(value, base[key])
        for key, value in wanted['state_dict'].items()
        if key.endswith('weight') and base[key].shape == value.shape
    ]
    assert sum(moved) > 50


@pytest.mark.parametrize('name', ['zero2', 'zero3'])
def test_the_optimizer_in_a_checkpoint_is_that_of_ddp(runs, name):
    ours, wanted = (checkpoint(runs / n, 1)['optimizer'] for n in (name, 'ddp'))
    assert ours['param_groups'] == wanted['param_groups']
    assert len(ours['param_groups']) > 10
    assert ours['state'].keys() == wanted['state'].keys()
    for number, state in wanted['state'].items():
        assert ours['state'][number].keys() == state.keys() == {'step', 'exp_avg', 'exp_avg_sq'}
        for key, value in state.items():
            mine = ours['state'][number][key]
            assert mine.shape == value.shape
            # A ReLU may be on the other side of zero in the third step.
            assert (mine - value).norm() < 0.01 * value.norm(), (number, key)


@pytest.mark.parametrize('name', ['zero2', 'zero3'])
def test_lora_with_accumulation_trains_as_under_ddp(runs, name):
    assert len(logged(runs / 'lora_ddp')) == 6
    assert logged(runs / f'lora_{name}') == pytest.approx(logged(runs / 'lora_ddp'), rel=1e-5)
    norms = logged(runs / 'lora_ddp', 'grad_norm')
    assert logged(runs / f'lora_{name}', 'grad_norm') == pytest.approx(norms, rel=1e-4)
    ours, wanted = (checkpoint(runs / n, 3) for n in (f'lora_{name}', 'lora_ddp'))
    own = {
        key.removeprefix('module.'): value
        for key, value in wanted['ema_state_dict'].items()
        if key.startswith('module.')
    }
    weights = ours.get('ema_state_dict', {f'module.{k}': v for k, v in ours['state_dict'].items()})
    assert (
        difference({k.removeprefix('module.'): v for k, v in weights.items() if k != 'steps'}, own)
        < 1e-5
    )
    assert any('lora_B' in key for key in own)
    assert len(own) < len(checkpoint(runs / 'ddp', 1)['state_dict'])


def test_the_moving_average_is_that_of_ddp(runs):
    ours, wanted = (checkpoint(runs / f'lora_{n}', 3) for n in ('zero2', 'ddp'))
    assert difference(ours['state_dict'], wanted['state_dict']) < 1e-5
    assert (
        difference(
            ours['state_dict'],
            {k: wanted['ema_state_dict'][f'module.{k}'] for k in wanted['state_dict']},
        )
        > 1e-4
    )


@pytest.mark.parametrize('name', ['zero2', 'zero3'])
def test_adapter_folders_are_those_of_ddp(runs, name):
    ours, wanted = (read_adapter(str(runs / f'lora_{n}' / 'adapter')) for n in (name, 'ddp'))
    assert ours[0].base.fingerprint == wanted[0].base.fingerprint
    if name == 'zero2':  # of the moving average, as under DDP
        assert difference(ours[1], wanted[1]) < 1e-5
    else:
        own = checkpoint(runs / 'lora_zero3', 3)['state_dict']
        assert ours[1].keys() == wanted[1].keys()
        assert all(torch.equal(value, own[key]) for key, value in ours[1].items())


@pytest.mark.parametrize('name', ['zero2', 'zero3'])
def test_a_resumed_run_is_one_that_was_never_stopped(runs, name):
    resumed, straight = (checkpoint(runs / n, 3) for n in (f'{name}_after_{name}', f'lora_{name}'))
    assert logged(runs / f'{name}_after_{name}') == logged(runs / f'lora_{name}')[4:]
    for part in ('state_dict', 'ema_state_dict'):
        assert (part in resumed) == (part in straight)
        if part in straight:
            assert difference(resumed[part], straight[part]) == 0
    for number, state in straight['optimizer']['state'].items():
        assert all(
            torch.equal(resumed['optimizer']['state'][number][key], value)
            for key, value in state.items()
        )


@pytest.mark.parametrize(('name', 'whose'), [('zero2', 'ddp'), ('ddp', 'zero2')])
def test_a_run_goes_on_with_another_strategy(runs, name, whose):
    resumed, straight = (checkpoint(runs / n, 3) for n in (f'{name}_after_{whose}', 'lora_ddp'))
    assert logged(runs / f'{name}_after_{whose}') == pytest.approx(
        logged(runs / 'lora_ddp')[4:], rel=1e-5
    )
    for part in ('state_dict', 'ema_state_dict'):
        assert difference(resumed[part], straight[part]) < 1e-5


def test_processes_say_once_what_they_compile_and_little_else(runs):
    lines = (runs / 'log.txt').read_text().splitlines()
    assert not [line for line in lines if '[INFO] [' in line or 'built successfully' in line]
