"""Top-level keys of a config that mean something for a strategy."""

import pytest
from mmengine._strategy import DDPStrategy as StockStrategy

from mmadapt import UserError
from mmadapt.strategies import (
    DDPStrategy,
    SingleDeviceStrategy,
    with_runner_keys,
)

DDP = dict(type='mmadapt.DDPStrategy')


def test_sync_bn_and_unused_parameters_reach_ddp():
    found = with_runner_keys(DDP, dict(sync_bn='torch', find_unused_parameters=True))
    assert found == dict(
        DDP,
        sync_bn='torch',
        model_wrapper=dict(
            type='MMDistributedDataParallel', broadcast_buffers=False, find_unused_parameters=True
        ),
    )


def test_the_wrapper_of_the_stock_runner_is_taken_but_what_the_strategy_says_comes_first():
    cfg = dict(model_wrapper_cfg=dict(type='Mine', static_graph=True))
    assert with_runner_keys(DDP, cfg)['model_wrapper'] == dict(
        type='Mine', static_graph=True, broadcast_buffers=False, find_unused_parameters=False
    )
    assert with_runner_keys(dict(DDP, model_wrapper=dict(type='Other')), cfg)[
        'model_wrapper'
    ] == dict(type='Other')


def test_what_asks_for_nothing_changes_nothing():
    cfg = dict(sync_bn=None, find_unused_parameters=False, model_wrapper_cfg=None)
    assert with_runner_keys(DDP, cfg) == DDP


@pytest.mark.parametrize(
    'strategy',
    [dict(type=SingleDeviceStrategy), dict(type=StockStrategy), dict(type='DDPStrategy')],
)
def test_only_strategies_of_ours_for_several_processes_get_any(strategy):
    assert with_runner_keys(strategy, dict(sync_bn='torch')) == strategy


@pytest.mark.parametrize(
    ('cls', 'cfg', 'message'),
    [
        (
            DDPStrategy,
            dict(efficient_conv_bn_eval=['backbone']),
            'efficient_conv_bn_eval: Flexible',
        ),
        (DDPStrategy, dict(model_wrapper_cfg=dict(peft={})), 'write peft at the top of the config'),
    ],
)
def test_what_a_strategy_cannot_do_is_refused(cls, cfg, message):
    with pytest.raises(UserError, match=message):
        with_runner_keys(dict(type=cls), cfg)


@pytest.mark.parametrize(
    ('strategy', 'message'),
    [
        (
            dict(type='FSDP3Strategy'),
            "type='FSDP3Strategy' is not one of .*; nearest: '.*FSDP2?Strategy'",
        ),
        (dict(), 'type=None is not one of'),
        (
            dict(DDP, find_unused=True),
            "strategy has no key 'find_unused' under DDPStrategy; nearest: ",
        ),
        (
            dict(type=SingleDeviceStrategy, work_dri='x'),
            "no key 'work_dri' under .*; nearest: 'work_dir'",
        ),
    ],
)
def test_what_does_not_exist_names_the_nearest(strategy, message):
    with pytest.raises(UserError, match=message):
        with_runner_keys(strategy, {})
