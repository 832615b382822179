"""What a config asks of a strategy is what its runner would: the same hooks, the same lengths."""

from mmengine.hooks import CheckpointHook, EMAHook, NaiveVisualizationHook
from mmengine.registry import HOOKS, Registry

from mmadapt.strategies.asked_run import hooks_of_config, lengths_of_config, run_of_config

OTHERS = Registry('hook', parent=HOOKS, scope='asked_run')


@OTHERS.register_module()
class Average(EMAHook):
    """A hook of a library whose scope is not the config's."""


def test_a_config_that_names_no_checkpoint_hook_gets_the_one_that_a_runner_adds():
    for cfg in ({}, dict(default_hooks=None), dict(default_hooks=dict(logger=None))):
        (hook,) = hooks_of_config(dict(cfg, custom_hooks=None))
        assert hook.is_a(CheckpointHook)
        assert hook.settings['interval'] == 1
    assert hooks_of_config(dict(default_hooks=dict(checkpoint=None))) == []


def test_a_hook_is_found_by_its_scope_wherever_the_config_is_of():
    (_, hook) = hooks_of_config(dict(custom_hooks=[dict(type='asked_run.Average')]))
    assert (hook.name, hook.cls) == ('Average', Average)
    assert hook.is_a(EMAHook)
    assert not hook.is_a(CheckpointHook)


def test_a_hook_that_is_built_already_or_made_by_a_function_is_one_too():
    built = NaiveVisualizationHook(interval=3)
    (_, hook, made, unknown) = hooks_of_config(
        dict(custom_hooks=[built, dict(type=lambda: built), dict(type='NoSuchHook', a=1), None])
    )
    assert hook.cls is NaiveVisualizationHook
    assert hook.settings['interval' if 'interval' in hook.settings else '_interval'] == 3
    assert not made.is_a(NaiveVisualizationHook)
    assert (unknown.name, unknown.cls, unknown.settings['a']) == ('NoSuchHook', None, 1)


def test_a_config_says_how_long_a_run_is_and_never_how_long_an_epoch():
    assert lengths_of_config(dict(train_cfg=dict(max_iters=9))) == dict(max_iters=9)
    for cfg in ({}, dict(train_cfg=None), dict(train_cfg=dict(max_epochs=9))):
        assert lengths_of_config(cfg) == {}
    run = run_of_config(dict(train_cfg=dict(max_iters=9), optim_wrapper=None), 2)
    assert (run.processes, run.lengths, run.trains) == (2, dict(max_iters=9), False)
