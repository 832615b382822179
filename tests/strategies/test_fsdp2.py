"""DINO with Swin under FSDP2: what DDP trains, writes and resumes, on two processes."""

import pytest
import torch
from several_runs import checkpoint, difference, logged, run_several

from mmadapt.files import read_adapter

FULL = dict(method=None, targets='all', head='train', norm='train')
LORA = dict(method=dict(type='LoRA', r=4, alpha=8, dropout=0.1), targets='all-linear')
EMA = "custom_hooks = [dict(type='EMAHook', momentum=0.2), dict(type='PEFTInjectHook')]"
STRATEGIES = dict(
    ddp=dict(type='DDPStrategy'),
    fsdp2=dict(type='FSDP2Strategy'),
    folders=dict(type='FSDP2Strategy', sharded_checkpoints=True),
)


@pytest.fixture(scope='module')
def runs(config, tmp_path_factory):
    """Train all of it for three iterations, LoRA for three times three; return their folder.

    With LoRA every fourth iteration makes a step, so that gradients wait in a checkpoint.
    """
    folder = tmp_path_factory.mktemp('runs')
    plan = {name: dict(config=config(name, STRATEGIES[name], FULL)) for name in ('ddp', 'fsdp2')}
    for name, strategy in STRATEGIES.items():
        plan[f'lora_{name}'] = dict(
            config=config(
                f'lora_{name}', strategy, LORA, epochs=3, images=6, accumulative_counts=4, extra=EMA
            )
        )
    for name, whose in (('fsdp2', 'fsdp2'), ('fsdp2', 'ddp'), ('ddp', 'fsdp2')):
        plan[f'{name}_after_{whose}'] = dict(
            config=plan[f'lora_{name}']['config'], resume=folder / f'lora_{whose}' / 'epoch_2.pth'
        )
    run_several(folder, plan)
    return folder


def test_its_steps_are_those_of_ddp(runs):
    assert len(logged(runs / 'ddp')) == 3
    assert logged(runs / 'fsdp2') == pytest.approx(logged(runs / 'ddp'), rel=1e-5)
    norms = logged(runs / 'ddp', 'grad_norm')
    assert min(norms) > 1, 'they are to be clipped, to 0.1'
    assert logged(runs / 'fsdp2', 'grad_norm') == pytest.approx(norms, rel=1e-4)
    ours, wanted = checkpoint(runs / 'fsdp2', 1), checkpoint(runs / 'ddp', 1)
    assert ours.keys() == wanted.keys()
    assert difference(ours['state_dict'], wanted['state_dict']) < 1e-5


def test_the_optimizer_in_a_checkpoint_is_that_of_ddp(runs):
    ours, wanted = (checkpoint(runs / n, 1)['optimizer'] for n in ('fsdp2', 'ddp'))
    assert ours['state'].keys() == wanted['state'].keys()
    for number, state in wanted['state'].items():
        for key, value in state.items():
            assert ours['state'][number][key].shape == value.shape
            assert torch.allclose(ours['state'][number][key], value, atol=1e-7), (number, key)


@pytest.mark.parametrize('name', ['fsdp2', 'folders'])
def test_lora_with_accumulation_and_its_average_train_as_under_ddp(name, runs):
    assert len(logged(runs / 'lora_ddp')) == 9
    assert logged(runs / f'lora_{name}') == pytest.approx(logged(runs / 'lora_ddp'), rel=1e-5)
    ours, wanted = (checkpoint(runs / n, 3) for n in (f'lora_{name}', 'lora_ddp'))
    for part in ('state_dict', 'ema_state_dict'):
        assert difference(ours[part], wanted[part]) < 1e-5
    assert (runs / 'lora_folders' / 'epoch_3.pth').is_dir()
    folders = [read_adapter(str(runs / n / 'adapter')) for n in (f'lora_{name}', 'lora_ddp')]
    assert folders[0][0].base.fingerprint == folders[1][0].base.fingerprint
    assert difference(folders[0][1], folders[1][1]) < 1e-5


def test_a_resumed_run_is_one_that_was_never_stopped(runs):
    resumed, straight = (checkpoint(runs / n, 3) for n in ('fsdp2_after_fsdp2', 'lora_fsdp2'))
    assert logged(runs / 'fsdp2_after_fsdp2') == logged(runs / 'lora_fsdp2')[6:]
    for part in ('state_dict', 'ema_state_dict'):
        assert difference(resumed[part], straight[part]) == 0


@pytest.mark.parametrize(('name', 'whose'), [('fsdp2', 'ddp'), ('ddp', 'fsdp2')])
def test_a_run_goes_on_with_another_strategy(name, whose, runs):
    resumed, straight = (checkpoint(runs / n, 3) for n in (f'{name}_after_{whose}', 'lora_ddp'))
    for part in ('state_dict', 'ema_state_dict'):
        assert difference(resumed[part], straight[part]) < 1e-5


def test_a_folder_of_two_processes_goes_on_in_one(runs, config, tmp_path):
    """With the optimizer's state: as one process goes on with the file that DDP has written."""
    one = config(
        'one',
        dict(type='FSDP2Strategy'),
        LORA,
        epochs=3,
        images=6,
        accumulative_counts=4,
        extra=EMA,
    )
    run_several(
        tmp_path,
        {
            name: dict(config=one, resume=runs / f'lora_{name}' / 'epoch_2.pth')
            for name in ('folders', 'ddp')
        },
        processes=1,
    )
    before, after, wanted = (
        checkpoint(*which)
        for which in ((runs / 'lora_folders', 2), (tmp_path / 'folders', 3), (tmp_path / 'ddp', 3))
    )
    for part in ('state_dict', 'ema_state_dict'):
        assert difference(after[part], wanted[part]) < 1e-5
        assert difference(after[part], before[part]) > 1e-4, 'nothing was trained'
    # Nothing of it is lost and nothing is begun anew: six images are a step and a half.
    states = [c['optimizer']['state'] for c in (before, after, wanted)]
    assert states[0].keys() == states[1].keys() == states[2].keys()
    for number, state in states[1].items():
        assert state['step'] == states[2][number]['step'] > states[0][number]['step'] > 0
        for key in ('exp_avg', 'exp_avg_sq'):
            # Not by element: where large terms of a gradient cancel, what is left is their rounding,
            # which differs between processors. A state begun anew is 0.7 of its norm away.
            expected = states[2][number][key]
            assert (state[key] - expected).norm() <= 1e-2 * expected.norm()
