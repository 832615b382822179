"""Hooks that are brought along whatever the priorities, named twice, or forgotten."""

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.registry import HOOKS, RUNNERS
from mmengine.runner import Runner
from stock_runs import LORA, write_config

from mmadapt import UserError
from mmadapt.files import read_checkpoint
from mmadapt.hooks import MemoryHook, PEFTCheckpointHook, RandomStateHook
from mmadapt.memory.checkpointing import is_recomputed

INJECT, MEMORY = dict(type='PEFTInjectHook'), dict(type='MemoryHook')
RECIPE = dict(checkpoint=['CSPLayer'])
PRIORITIES = ('HIGHEST', 'VERY_HIGH', 'HIGH', 'NORMAL', 'VERY_LOW', 'LOWEST')


@pytest.fixture
def build(data, bases, tmp_path):
    """Build a runner of RTMDet with other values, as a stock tool does."""

    def _build(hooks, name='run', kind='Runner', ema=False, **changes):
        path = write_config(tmp_path, 'rtmdet', data, bases('rtmdet'), LORA, ema=ema)
        cfg = Config.fromfile(path)
        cfg.merge_from_dict(
            dict(
                work_dir=str(tmp_path / name),
                custom_hooks=hooks,
                **changes,
                visualizer=dict(type='Visualizer', vis_backends=[]),
                train_dataloader=dict(
                    batch_size=6, sampler=dict(type='DefaultSampler', shuffle=True)
                ),
            )
        )
        return RUNNERS.build(Config(dict(cfg, runner_type=kind)))

    yield _build
    MessageHub._instance_dict.clear()


def _trained(runner, tmp_path, name):
    runner.train()
    counts = {
        kind: sum(isinstance(hook, kind) for hook in runner.hooks)
        for kind in (MemoryHook, RandomStateHook, PEFTCheckpointHook)
    }
    assert set(counts.values()) == {1}, counts
    recomputed = [n for n, m in runner.model.named_modules() if is_recomputed(m)]
    return recomputed, read_checkpoint(str(tmp_path / name / 'epoch_1.pth'))


@pytest.mark.parametrize('kind', ['Runner', 'FlexibleRunner'])
def test_every_priority_recomputes_and_trains_the_same(build, tmp_path, kind):
    """A hook that is registered while MMEngine iterates over their list was skipped."""
    wanted, truth = None, None
    for priority in ('VERY_HIGH', 'NORMAL', 'LOWEST') if kind == 'Runner' else ('HIGH', 'LOW'):
        runner = build([dict(INJECT, priority=priority)], priority, kind, memory=RECIPE)
        recomputed, found = _trained(runner, tmp_path, priority)
        assert len(recomputed) == 8, priority
        if truth is None:
            wanted, truth = recomputed, found
        assert recomputed == wanted
        assert found['state_dict'].keys() == truth['state_dict'].keys()
        assert all(
            torch.equal(value, truth['state_dict'][key])
            for key, value in found['state_dict'].items()
        ), priority
        assert 'rank_states' in found
        assert 'mmadapt' in found


def test_no_hook_s_before_run_is_called_twice_or_left_out(build):
    calls = []

    class Counts(Hook):
        def __init__(self, name, priority):
            self.name, self.priority = name, priority

        def before_run(self, runner):
            calls.append(self.name)

    runner = build(
        [dict(INJECT, priority='NORMAL')],
        memory=RECIPE,
        **{'train_cfg.max_epochs': 0, 'param_scheduler': None},
    )
    for priority in PRIORITIES:
        runner.register_hook(Counts(priority, priority))
    runner.train()
    assert calls == list(PRIORITIES)


def test_a_memory_hook_of_the_config_may_come_before_the_adapters(build, tmp_path):
    """MemoryHook first, at its own priority; PEFTInjectHook behind it."""
    runner = build([MEMORY, dict(INJECT, priority='LOW')], memory=RECIPE)
    recomputed, found = _trained(runner, tmp_path, 'run')
    assert len(recomputed) == 8
    assert any(
        key.endswith('lora_B') and value.abs().sum() > 0
        for key, value in found['state_dict'].items()
    )


def test_the_random_states_are_kept_once_where_the_config_names_their_hook(build, tmp_path, capfd):
    hooks = [dict(type='RandomStateHook'), INJECT]
    _trained(build(hooks, memory=RECIPE), tmp_path, 'run')
    runner = build(hooks, memory=RECIPE, resume=True, load_from=None, **{'train_cfg.max_epochs': 2})
    _trained(runner, tmp_path, 'run')
    said = capfd.readouterr()
    assert 'random states of 0 processes' not in said.out + said.err


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(hooks=[MEMORY], memory=RECIPE), 'has `peft` but no hook that reads it'),
        (
            dict(hooks=[MEMORY], memory=RECIPE, kind='FlexibleRunner'),
            'has `peft` but no hook that reads it',
        ),
        (dict(hooks=[]), 'has `peft` but no hook that reads it'),
        (dict(hooks=[], peft=None, memory=RECIPE), 'has `memory` but no hook that reads it'),
        (
            dict(hooks=[INJECT], strategy=dict(type='FSDP2Strategy')),
            'has a `strategy`, which the st',
        ),
        (dict(hooks=[INJECT, dict(type='mmengine.PEFTInjectHook')]), 'hold PEFTInjectHook 2 times'),
        (dict(hooks=[INJECT, MEMORY, MEMORY], memory=RECIPE), 'hold MemoryHook 2 times'),
        (dict(hooks=[INJECT, *2 * [dict(type='RandomStateHook')]]), 'hold RandomStateHook 2 times'),
        (dict(hooks=[INJECT, dict(type='PEFTCheckpointHook')]), 'PEFTInjectHook brings along'),
    ],
)
def test_a_stock_runner_refuses_what_it_would_leave_out(build, changes, message, capfd):
    """As MMDetection's own tools build it; nothing is built or printed before."""
    with pytest.raises(UserError, match=message):
        build(**changes)
    assert 'Config:' not in capfd.readouterr().out


@pytest.mark.parametrize(
    'changes',
    [
        dict(hooks=[], peft=None),
        dict(hooks=[INJECT]),
        dict(hooks=[], **{'default_hooks.peft': INJECT}),
    ],
)
def test_a_config_whose_keys_are_read_or_absent_is_built(build, changes):
    assert type(build(**changes)) is Runner


def test_a_hook_that_no_config_can_build_is_in_no_registry():
    options = dict(LogFileHook=dict(path='run.log'))
    for name in HOOKS.module_dict:
        if HOOKS.get(name).__module__.startswith('mmadapt.'):
            HOOKS.build(dict(type=name, **options.get(name, {})))
