"""How much of a moving average is still its first value, as MMEngine computes it."""

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from mmadapt.preflight import find_inconsistencies


def run(ema, iters):
    """Return what is left of a first value 1 in an average of zeros."""
    import mmdet.models  # noqa: F401  ExpMomentumEMA

    model = nn.Linear(1, 1, bias=False)
    average = MODELS.build(dict(ema), default_args=dict(model=model))
    with torch.no_grad():
        model.weight.fill_(1)
        average.update_parameters(model)
        model.weight.fill_(0)
        for _ in range(iters - 1):
            average.update_parameters(model)
    return average.module.weight.item()


@pytest.mark.parametrize(
    'ema',
    [
        dict(type='ExponentialMovingAverage'),
        dict(type='ExponentialMovingAverage', momentum=0.01),
        dict(type='ExponentialMovingAverage', momentum=0.05, interval=4),
        dict(type='MomentumAnnealingEMA', momentum=0.001, gamma=1),
        dict(type='mmdet.ExpMomentumEMA', momentum=0.0002, gamma=2),
    ],
)
def test_the_share_of_the_beginning_is_that_of_the_real_average(ema):
    left = run(ema, 40)
    hook = dict(ema, type='EMAHook', ema_type=ema['type'])
    cfg = dict(train_cfg=dict(max_epochs=4), custom_hooks=[dict(type='Other'), hook])
    found = find_inconsistencies(cfg, epoch_length=10)
    if left <= 0.1:
        assert found == []
        return
    (line,) = found
    updates = 40 // ema.get('interval', 1)
    assert f'the run has {updates}: {left:.0%} of the average' in line
    option = line.split('--cfg-options custom_hooks.1.momentum=')[1]
    assert run(dict(ema, momentum=float(option)), 40) < 0.01


def test_what_begins_late_averages_less():
    hook = dict(type='EMAHook', momentum=0.1, begin_epoch=3)
    cfg = dict(train_cfg=dict(max_epochs=4), custom_hooks=[hook])
    assert 'the run has 10: 39% of' in find_inconsistencies(cfg, epoch_length=10)[0]
    assert find_inconsistencies(cfg, epoch_length=100) == []
    assert find_inconsistencies(cfg) == []


def test_averages_of_stock_configs_are_left_in_peace():
    hook = dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.0002, update_buffers=True)
    for length in (1, 100, 5000):
        assert (
            find_inconsistencies(dict(train_cfg=dict(max_epochs=10), custom_hooks=[hook]), length)
            == []
        )
