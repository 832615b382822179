"""Which strategy a config gets, and what the strategies refuse."""

import pytest
import torch
from mmengine._strategy import DDPStrategy, FSDPStrategy, SingleDeviceStrategy
from mmengine.registry import RUNNERS
from torch import nn

from mmadapt import UserError, strategies
from mmadapt.runner import FlexibleRunner
from mmadapt.strategies import choose_strategy

PEFT = dict(peft=dict(method=dict(type='LoRA')))
MEMORY = dict(memory=dict(checkpoint=['SwinBlock']))
RECOMPUTED = dict(activation_checkpointing=['backbone'])


@pytest.mark.parametrize('cfg', [PEFT, MEMORY, RECOMPUTED])
@pytest.mark.parametrize(
    ('strategy', 'launcher', 'wanted'),
    [
        (None, 'none', 'mmadapt.SingleDeviceStrategy'),
        (None, 'pytorch', 'mmadapt.DDPStrategy'),
        (dict(type='DDPStrategy', sync_bn='torch'), 'pytorch', 'mmadapt.DDPStrategy'),
        (dict(type=SingleDeviceStrategy), 'none', 'mmadapt.SingleDeviceStrategy'),
        (dict(type='mmadapt.DDPStrategy'), 'pytorch', 'mmadapt.DDPStrategy'),
    ],
)
def test_ours_takes_the_place_of_mmengines_where_it_is_needed(strategy, launcher, wanted, cfg):
    chosen = choose_strategy(strategy, launcher, cfg)
    assert chosen['type'] == wanted
    assert chosen.get('sync_bn') == (strategy or {}).get('sync_bn')


@pytest.mark.parametrize(
    'strategy',
    [
        dict(type='DDPStrategy'),
        dict(type=DDPStrategy),
        dict(type='FSDPStrategy'),
        dict(type='DeepSpeedStrategy'),
    ],
)
def test_a_config_that_does_not_need_ours_keeps_its_own(strategy):
    assert choose_strategy(strategy, 'pytorch', {}) is strategy
    assert choose_strategy(strategy, 'pytorch', dict(peft=None)) is strategy


@pytest.mark.parametrize(
    ('strategy', 'remedy'),
    [
        (dict(type='FSDPStrategy'), r"write strategy=dict\(type='mmadapt.FSDP2Strategy', ...\)"),
        (dict(type=FSDPStrategy), r"write strategy=dict\(type='mmadapt.FSDP2Strategy', ...\)"),
        (
            dict(type='DeepSpeedStrategy'),
            r"write strategy=dict\(type='mmadapt.DeepSpeedStrategy', ...\)",
        ),
        (dict(type='ColossalAIStrategy'), "choose among 'mmadapt.DDPStrategy', "),
    ],
)
@pytest.mark.parametrize(
    ('cfg', 'key'),
    [(PEFT, '`peft`'), (MEMORY, '`memory`'), (RECOMPUTED, '`activation_checkpointing`')],
)
def test_one_that_wraps_before_anything_can_act_is_refused(cfg, key, strategy, remedy):
    name = getattr(strategy['type'], '__name__', strategy['type'])
    with pytest.raises(UserError, match=f"MMEngine's {name} wraps .* {key}; {remedy}"):
        choose_strategy(strategy, 'pytorch', cfg)


def test_a_strategy_of_somebody_elses_or_that_there_is_none_of_is_left_to_the_registry():
    class Mine(SingleDeviceStrategy):
        pass

    for strategy in (
        dict(type=Mine),
        dict(type='NoSuchStrategy'),
        dict(type='mmadapt.FSDP2Strategy'),
    ):
        assert choose_strategy(strategy, 'none', PEFT) is strategy


def test_that_colossalai_has_no_counterpart_is_said_with_the_reason():
    with pytest.raises(UserError, match=r'its last release, 0.5.0, requires torch<=2.5.1, mmadapt'):
        choose_strategy(dict(type='ColossalAIStrategy', plugin='gemini'), 'pytorch', PEFT)


def test_a_built_strategy_of_mmengines_is_refused_too(tmp_path):
    stock = SingleDeviceStrategy(work_dir=str(tmp_path))
    assert choose_strategy(stock, 'none', {}) is stock
    with pytest.raises(UserError, match='SingleDeviceStrategy wraps'):
        choose_strategy(stock, 'none', PEFT)


def test_the_runner_is_found_under_mmengines_name():
    assert RUNNERS.get('FlexibleRunner') is FlexibleRunner


def test_without_its_runner_a_strategy_says_so(tmp_path):
    strategy = strategies.SingleDeviceStrategy(work_dir=str(tmp_path))
    with pytest.raises(UserError, match="needs mmadapt's FlexibleRunner"):
        strategy.prepare(nn.Linear(2, 2))


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    strategy = strategies.SingleDeviceStrategy(work_dir=str(tmp_path))
    strategy.model = nn.Sequential(nn.Linear(2, 2))
    path = str(tmp_path / 'other.pth')
    torch.save(dict(state_dict={'layer.weight': torch.zeros(3)}), path)
    with pytest.raises(
        UserError,
        match='has none of the 2 weights of this Sequential: its first '
        "key is 'layer.weight', the model's '0.weight'",
    ):
        strategy.load_checkpoint(path)
    torch.save(dict(state_dict={'module.0.weight': torch.ones(2, 2)}), path)
    strategy.load_checkpoint(path)
    assert strategy.model[0].weight.eq(1).all()
