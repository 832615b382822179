"""Checkpoints inside an accumulation: ZeRO-2 and 3 keep no gradients that could be written."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import CheckpointHook, IterTimerHook
from torch import nn

from mmadapt import UserError
from mmadapt.hooks.random_state_hook import RandomStateHook
from mmadapt.random_state import get_random_state
from mmadapt.strategies.asked_run import hooks_of_config, hooks_of_run
from mmadapt.strategies.deepspeed import DeepSpeedStrategy
from mmadapt.strategies.deepspeed.accumulation import check_intervals
from mmadapt.strategies.deepspeed.engine import DeepSpeedOptimWrapper

REFUSED = r'ZeRO-2 and 3 cannot write .* optim_wrapper.accumulative_counts=2, such as by_epoch=F'


class Begins(Exception):
    pass


def begin(optimizer):
    raise Begins


class Engine(SimpleNamespace):
    """What a wrapper asks of DeepSpeed's engine."""

    optimizer = global_steps = None

    def __getattr__(self, name):
        return lambda *args, **kwargs: True


@pytest.fixture
def runner(tmp_path):
    """Return a runner inside a run of five iterations, two to a step."""
    strategy = DeepSpeedStrategy(zero_optimization=dict(stage=3), work_dir=str(tmp_path))
    strategy.model = nn.Linear(2, 2)
    wrapper = DeepSpeedOptimWrapper(
        optimizer=torch.optim.SGD(strategy.model.parameters(), lr=1), accumulative_counts=2
    )
    wrapper.attach(Engine(), [])
    wrapper.initialize_count_status(strategy.model, 0, 5)
    strategy.optim_wrapper = wrapper
    return SimpleNamespace(strategy=strategy, optim_wrapper=wrapper, hooks=[IterTimerHook()])


def test_one_is_written_wherever_a_step_has_been_made_the_last_and_shorter_one_too(runner):
    written = []
    for _ in range(5):
        runner.optim_wrapper.update_params(torch.zeros(()))
        try:
            RandomStateHook().gather(runner)
            written.append(True)
        except UserError:
            written.append(False)
    assert written == [False, True, False, True, True]


def test_gradients_of_another_strategy_are_refused_and_none_are_not(runner):
    hook = RandomStateHook()
    hook._restore(runner, dict(get_random_state(), gradients={}))
    within = dict(get_random_state(), gradients=dict(weight=torch.zeros(2, 2)))
    with pytest.raises(UserError, match='from inside an accumulation, .* resume another one'):
        hook._restore(runner, within)


@pytest.mark.parametrize(
    ('hook', 'epoch', 'refused'),
    [
        (dict(interval=1), 3, True),
        (dict(interval=1), 4, False),
        (dict(interval=2), 3, False),
        (dict(interval=3), 3, False),  # at the end only, where a step is made
        (dict(interval=2, save_begin=1), 3, True),
        (dict(interval=5, by_epoch=False), 4, True),
        (dict(interval=4, by_epoch=False), 3, False),
        (dict(interval=-1), 3, False),
    ],
)
def test_a_run_that_would_be_refused_later_does_not_begin(hook, epoch, refused):
    lengths = dict(epoch_length=epoch, max_iters=9)
    hooks = hooks_of_run([IterTimerHook(), CheckpointHook(**hook)])
    named = hooks_of_config(
        dict(default_hooks=dict(checkpoint=dict(type='CheckpointHook', **hook)))
    )
    check_intervals(hooks, lengths, 1)
    for each in (hooks, named):
        if refused:
            with pytest.raises(UserError, match=REFUSED):
                check_intervals(each, lengths, 2)
        else:
            check_intervals(each, lengths, 2)


def test_a_plan_knows_no_epochs_but_the_hook_that_a_runner_adds():
    every = dict(type='CheckpointHook', by_epoch=False, interval=1)
    check_intervals(hooks_of_config({}), {}, 2)
    check_intervals(hooks_of_config(dict(default_hooks=dict(checkpoint=None))), {}, 2)
    for lengths in (dict(epoch_length=3), dict(epoch_length=3, max_iters=9)):
        with pytest.raises(UserError, match=REFUSED):
            check_intervals(hooks_of_config({}), lengths, 2)
    with pytest.raises(UserError, match=REFUSED):
        check_intervals(hooks_of_config(dict(custom_hooks=[every])), {}, 2)
    check_intervals(
        hooks_of_config(dict(default_hooks=dict(checkpoint=every))), dict(max_iters=1), 2
    )


@pytest.mark.parametrize('stage', [1, 2])
def test_of_zero_2_and_3(stage, tmp_path, monkeypatch):
    from mmadapt.strategies.deepspeed import operators

    for name in ('require_deepspeed', 'register_optimizers'):
        monkeypatch.setattr(operators, name, lambda: None)
    monkeypatch.setattr(operators, 'start', begin)
    strategy = DeepSpeedStrategy(zero_optimization=dict(stage=stage), work_dir=str(tmp_path))
    strategy.runner = SimpleNamespace(hooks=[CheckpointHook(interval=1)], cfg={})
    with pytest.raises(UserError, match=REFUSED) if stage == 2 else pytest.raises(Begins):
        strategy.prepare(
            dict(type='Nothing'),
            dispatch_kwargs=dict(epoch_length=3, max_iters=12),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1), accumulative_counts=2),
        )
