"""Values that do not fit the length of a run are named; what fits is left in peace."""

from pathlib import Path

import mmdet
import pytest
from mmengine.config import Config

from mmadapt.preflight import find_inconsistencies

STOCK = Path(mmdet.__file__).parent / '.mim' / 'configs'


def stock(name, **options):
    cfg = Config.fromfile(STOCK / name, import_custom_modules=False)
    cfg.merge_from_dict(options)
    return cfg


@pytest.mark.parametrize(
    'name',
    [
        'rtmdet/rtmdet_tiny_8xb32-300e_coco.py',
        'yolox/yolox_s_8xb8-300e_coco.py',
        'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
        'ssd/ssd300_coco.py',
        'mask2former/mask2former_r50_8xb2-lsj-50e_coco.py',
        'rtmdet/rtmdet_l_swin_b_4xb32-100e_coco.py',
    ],
)
def test_a_stock_config_as_it_comes_is_left_in_peace(name):
    assert find_inconsistencies(stock(name)) == []


def test_rtmdet_shortened_by_max_epochs_alone_is_reported():
    cfg = stock('rtmdet/rtmdet_tiny_8xb32-300e_coco.py', **{'train_cfg.max_epochs': 6})
    found = '\n'.join(find_inconsistencies(cfg))
    assert 'param_scheduler[1] (CosineAnnealingLR) begins at epoch 150' in found
    assert 'custom_hooks[1] (PipelineSwitchHook) switches at epoch 280' in found
    assert '--cfg-options custom_hooks.1.switch_epoch=5' in found
    assert 'checkpoint.interval=10 in a run of 6 epochs' in found


def test_a_cosine_longer_than_the_run_is_reported():
    cfg = dict(
        train_cfg=dict(max_epochs=1),
        param_scheduler=[dict(type='CosineAnnealingLR', begin=0, end=50)],
    )
    (line,) = find_inconsistencies(cfg)
    assert 'ends at epoch 50, the run at 1' in line


@pytest.mark.parametrize(('period', 'effect'), [(24, 'stops on its way'), (6, 'rises again')])
def test_a_cosine_of_another_period_than_its_span_is_reported(period, effect):
    cfg = dict(
        train_cfg=dict(max_epochs=12), param_scheduler=dict(type='CosineAnnealingLR', T_max=period)
    )
    (line,) = find_inconsistencies(cfg)
    assert f'T_max={period}' in line
    assert effect in line


def test_milestones_after_the_end_are_reported():
    cfg = stock('faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', **{'train_cfg.max_epochs': 9})
    (line,) = find_inconsistencies(cfg)
    assert 'milestones [11]' in line


def test_iterations_are_compared_with_iterations():
    cfg = stock('mask2former/mask2former_r50_8xb2-lsj-50e_coco.py', **{'train_cfg.max_iters': 1000})
    assert any(
        'milestones [327778, 355092]' in line and '1000 iterations' in line
        for line in find_inconsistencies(cfg)
    )


def test_yolox_without_an_epoch_of_mosaic_is_reported():
    cfg = stock('yolox/yolox_s_8xb8-300e_coco.py', **{'train_cfg.max_epochs': 12})
    assert any(
        'YOLOXModeSwitchHook' in line and 'on all of them' in line
        for line in find_inconsistencies(cfg)
    )


def test_a_switch_before_the_run_is_reported():
    cfg = dict(
        train_cfg=dict(max_epochs=12),
        custom_hooks=[dict(type='PipelineSwitchHook', switch_epoch=-8)],
    )
    (line,) = find_inconsistencies(cfg)
    assert 'switch_epoch=-8' in line


def test_a_warm_up_longer_than_the_run_is_reported_with_the_rate_that_it_reaches():
    from mmengine.optim import LinearLR
    from torch import nn, optim

    cfg = stock('rtmdet/rtmdet_tiny_8xb32-300e_coco.py', **{'train_cfg.max_epochs': 8})
    line = find_inconsistencies(cfg, epoch_length=10)[0]
    optimizer = optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    warm_up = LinearLR(optimizer, start_factor=1e-5, by_epoch=False, begin=0, end=1000)
    for _ in range(79):  # the last of 80 iterations has had 79 steps before it
        optimizer.step()
        warm_up.step()
    assert f'reaches {optimizer.param_groups[0]["lr"]:.1%} of its value' in line
    assert '7.9%' in line
    assert '--cfg-options param_scheduler.0.end=4' in line
    cfg.param_scheduler[0].end = 4
    assert not any('warms up' in line for line in find_inconsistencies(cfg, 10))


@pytest.mark.parametrize(
    ('scheduler', 'said'),
    [
        (
            dict(type='LinearLR', by_epoch=False, end=60),
            'warms up until iteration 60 of a run of 80',
        ),
        (dict(type='LinearLR', by_epoch=False, end=40), None),
        (
            dict(type='LinearLR', by_epoch=False, start_factor=1.0, end_factor=0.1, end=100),
            'ends at iteration 100, the run at 80',
        ),
        (dict(type='mmdet.QuadraticWarmupLR', by_epoch=True, end=10), 'warms up until epoch 10'),
        (dict(type='ConstantLR', by_epoch=False, factor=0.1, end=90), 'reaches 10.0% of its value'),
        (dict(type='CosineAnnealingLR', by_epoch=False, end=100), 'ends at iteration 100'),
        (dict(type='CosineAnnealingLR', by_epoch=False), None),
    ],
)
def test_iterations_are_compared_with_those_that_the_epochs_have(scheduler, said):
    cfg = dict(train_cfg=dict(max_epochs=8), param_scheduler=[scheduler])
    found = find_inconsistencies(cfg, epoch_length=10)
    assert found == [] if said is None else said in found[0]


def test_a_scheduler_by_epochs_in_a_run_by_iterations_is_reported():
    cfg = dict(train_cfg=dict(max_iters=100), param_scheduler=dict(type='MultiStepLR'))
    assert find_inconsistencies(cfg)[0].endswith(
        'it never acts; --cfg-options param_scheduler.by_epoch=False'
    )
    cfg['param_scheduler']['convert_to_iter_based'] = True
    assert find_inconsistencies(cfg) == []
