"""A run that was stopped and resumed is the run that was never stopped."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from stock_runs import LORA, TOOLS, environment, losses, run, write_config

from mmadapt.files import read_checkpoint

# Dropout draws from torch's generator; 3 or 6 iterations an epoch are no multiple of the 4 whose
# gradients are accumulated, so that some are pending at every checkpoint.
PEFT = dict(method=dict(type='LoRA', r=4, alpha=8, dropout=0.3))
ACCUMULATED = "optim_wrapper['accumulative_counts'] = 4"


@pytest.mark.parametrize('processes', [1, 2])
def test_resumed_run_has_the_losses_of_an_uninterrupted_one(processes, data, bases, tmp_path):
    config = write_config(
        tmp_path, 'rtmdet', data, bases('rtmdet'), PEFT, epochs=3, extra=ACCUMULATED
    )
    straight, resumed = tmp_path / 'straight', tmp_path / 'resumed'
    run('train.py', config, '--work-dir', straight, processes=processes)
    resumed.mkdir()
    (resumed / 'last_checkpoint').write_text(str(straight / 'epoch_2.pth'))
    run('train.py', config, '--work-dir', resumed, '--resume', processes=processes)

    whole, rest = losses(straight), losses(resumed)
    assert len(rest) == len(whole) // 3
    assert all(whole[step] == loss for step, loss in rest.items())
    first, second = (read_checkpoint(str(folder / 'epoch_3.pth')) for folder in (straight, resumed))
    for part in ('state_dict', 'ema_state_dict'):
        assert all(torch.equal(first[part][k], second[part][k]) for k in first[part])


def test_resumed_run_with_worker_processes_has_the_same_losses(data, bases, tmp_path):
    config = write_config(
        tmp_path,
        'rtmdet',
        data,
        bases('rtmdet'),
        PEFT,
        epochs=2,
        extra="train_dataloader['num_workers'] = 2",
    )
    straight, resumed = tmp_path / 'straight', tmp_path / 'resumed'
    run('train.py', config, '--work-dir', straight)
    run('train.py', config, '--work-dir', resumed, '--resume', straight / 'epoch_1.pth')
    whole, rest = losses(straight), losses(resumed)
    assert rest
    assert all(whole[step] == loss for step, loss in rest.items())


def test_loop_by_iterations_resumes_exactly(data, bases, tmp_path):
    config = write_config(
        tmp_path,
        'rtmdet',
        data,
        bases('rtmdet'),
        PEFT,
        extra='\n'.join(
            [
                "train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=8, val_interval=4)",
                "default_hooks['checkpoint'] = dict(_delete_=True, type='CheckpointHook', by_epoch=False, "
                'interval=5)',
                "param_scheduler = [dict(type='LinearLR', end=8, by_epoch=False)]",
                "custom_hooks = [dict(type='PEFTInjectHook')]",
                ACCUMULATED,
            ]
        ),
    )
    straight, resumed = tmp_path / 'straight', tmp_path / 'resumed'
    run('train.py', config, '--work-dir', straight)
    run('train.py', config, '--work-dir', resumed, '--resume', straight / 'iter_5.pth')
    whole, rest = losses(straight), losses(resumed)
    assert sorted(rest) == [6, 7, 8]
    assert all(whole[step] == loss for step, loss in rest.items())


@pytest.mark.parametrize(('processes', 'workers', 'seed'), [(1, 0, 3), (2, 2, None)])
def test_run_resumed_inside_an_epoch_is_the_uninterrupted_one(
    processes, workers, seed, data, bases, tmp_path
):
    extra = '\n'.join(
        [
            ACCUMULATED,
            f'randomness = dict(seed={seed})',
            f"train_dataloader['num_workers'] = {workers}",
            "default_hooks['checkpoint'] = dict(_delete_=True, type='CheckpointHook', by_epoch=False, "
            "interval=4, save_best='auto', max_keep_ckpts=3)",
        ]
    )
    config = write_config(tmp_path, 'rtmdet', data, bases('rtmdet'), PEFT, epochs=2, extra=extra)
    straight, resumed = tmp_path / 'straight', tmp_path / 'resumed'
    run('train.py', config, '--work-dir', straight, processes=processes)
    stop, last = 8 // processes, 12 // processes
    log = run(
        'train.py',
        config,
        '--work-dir',
        resumed,
        '--resume',
        straight / f'iter_{stop}.pth',
        processes=processes,
    )
    assert (
        f'resuming inside epoch 2: the first {stop - last // 2} of its {last // 2} batches' in log
    )

    whole, rest = losses(straight), losses(resumed)
    assert sorted(rest) == list(range(stop + 1, last + 1))
    assert all(whole[step] == loss for step, loss in rest.items())
    first, second = (read_checkpoint(str(f / f'iter_{last}.pth')) for f in (straight, resumed))
    assert first['meta']['epoch'] == second['meta']['epoch']
    for part in ('state_dict', 'ema_state_dict'):
        assert all(torch.equal(first[part][k], second[part][k]) for k in first[part])
    moments = (c['optimizer']['state'] for c in (first, second))
    for one, other in zip(*(m.values() for m in moments), strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_adapter_is_exported_from_the_average_that_was_validated(data, bases, tmp_path):
    config = write_config(tmp_path, 'rtmdet', data, bases('rtmdet'), LORA)
    run('train.py', config, '--work-dir', tmp_path / 'run')
    from mmadapt.files import read_adapter

    checkpoint = read_checkpoint(str(tmp_path / 'run' / 'epoch_1.pth'))
    # MMEngine keeps the average in `state_dict` and the weights in `ema_state_dict`.
    _, exported = read_adapter(str(tmp_path / 'run' / 'adapter'))
    assert all(torch.equal(exported[k], v) for k, v in checkpoint['state_dict'].items())
    assert any(
        not torch.equal(exported[k.removeprefix('module.')], v)
        for k, v in checkpoint['ema_state_dict'].items()
        if k.startswith('module.')
    )


@pytest.mark.skipif(sys.platform == 'win32', reason='kills a process group')
def test_killed_while_a_checkpoint_is_written_and_resumed(data, bases, tmp_path):
    """``kill -9`` in the middle of writing epoch 2 leaves epoch 1 whole and to be resumed."""
    slow = "custom_hooks.insert(0, dict(type='SlowWrites', epoch=2))"
    config = write_config(
        tmp_path, 'rtmdet', data, bases('rtmdet'), PEFT, epochs=3, extra=ACCUMULATED
    )
    killed, straight = tmp_path / 'killed', tmp_path / 'straight'
    slow_config = write_config(
        tmp_path,
        'rtmdet',
        data,
        bases('rtmdet'),
        PEFT,
        epochs=3,
        extra=f'{ACCUMULATED}\n{slow}',
        name='slow',
    )
    process = subprocess.Popen(
        [sys.executable, str(TOOLS / 'train.py'), str(slow_config), '--work-dir', str(killed)],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 300
    while not _part_file(killed) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    assert _part_file(killed), 'the run never began to write its second checkpoint'
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (killed / 'epoch_2.pth').exists(), 'half a checkpoint under the name of a whole one'
    run('train.py', config, '--work-dir', killed, '--resume')
    run('train.py', config, '--work-dir', straight)
    whole, rest = losses(straight), losses(killed)
    assert all(whole[step] == rest[step] for step in whole)


def _part_file(folder: Path):
    return [p for p in folder.glob('.epoch_2.pth.*') if p.stat().st_size > 0]
