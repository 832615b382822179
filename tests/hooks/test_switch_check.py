"""Hooks that switch transforms in mid-run, on data sets that MMDetection cannot switch."""

import pytest
from mmcv.transforms import Compose
from mmdet.datasets import CocoDataset, MultiImageMixDataset
from mmdet.engine.hooks import PipelineSwitchHook, YOLOXModeSwitchHook
from mmengine.dataset import RepeatDataset
from mmengine.logging import MessageHub
from stock_runs import CLASSES
from torch import nn

from mmadapt import UserError
from mmadapt.hooks import switch_check
from mmadapt.hooks.switch_check import check_switches

LOAD = [dict(type='mmcv.LoadImageFromFile'), dict(type='mmdet.LoadAnnotations', with_bbox=True)]
PACK = dict(type='mmdet.PackDetInputs')


@pytest.fixture
def warned(monkeypatch):
    lines = []
    monkeypatch.setattr(switch_check, 'warn', lines.append)
    return lines


@pytest.fixture
def plain(data):
    return CocoDataset(
        data_root=str(data),
        ann_file='train.json',
        data_prefix=dict(img='train/'),
        metainfo=dict(classes=CLASSES),
        pipeline=[*LOAD, PACK],
    )


def mixing(plain):
    plain.pipeline = Compose(LOAD)
    return MultiImageMixDataset(
        dataset=plain, pipeline=[dict(type='mmdet.RandomFlip', prob=0.5), PACK]
    )


def yolox():
    model = nn.Module()
    model.bbox_head = nn.Linear(1, 1)
    return model


def test_a_yolox_hook_wants_a_data_set_that_mixes(plain, warned):
    hook = YOLOXModeSwitchHook()
    with pytest.raises(
        UserError,
        match='YOLOXModeSwitchHook, which .*dataset is a CocoDataset: '
        "leave the hook out, or .*MultiImageMixDataset'",
    ):
        check_switches(yolox(), plain, [hook], 300)
    with pytest.raises(AttributeError):  # what MMDetection does, fifteen epochs before the end
        plain.update_skip_type_keys(hook.skip_type_keys)
    check_switches(yolox(), mixing(plain), [hook], 300)
    with pytest.raises(UserError, match='a Linear has no bbox_head'):
        check_switches(nn.Linear(1, 1), mixing(plain), [hook], 300)
    assert warned == []


def test_a_pipeline_switch_that_nothing_reads_is_said(plain, warned):
    hook = PipelineSwitchHook(switch_epoch=2, switch_pipeline=[*LOAD, PACK])
    check_switches(yolox(), plain, [hook], 3)
    check_switches(yolox(), RepeatDataset(plain, 2), [hook], 2)  # it never switches, which is said
    assert warned == []
    around = RepeatDataset(plain, 2)
    check_switches(yolox(), around, [hook], 3)
    (line,) = warned
    assert 'PipelineSwitchHook does nothing to a RepeatDataset' in line
    before = around[0]
    around.pipeline = Compose(LOAD)  # what MMDetection does
    assert around[0].keys() == before.keys() == {'inputs', 'data_samples'}


def test_a_pipeline_that_would_lose_its_end_is_refused(plain, warned):
    short = PipelineSwitchHook(1, [dict(type='mmdet.RandomFlip', prob=1.0), PACK])
    check_switches(yolox(), mixing(plain), [short], 3)
    long = PipelineSwitchHook(1, [dict(type='mmdet.Pad', size_divisor=32), *short.switch_pipeline])
    mixed = mixing(plain)
    with pytest.raises(
        UserError,
        match='through as many transforms as it was built with, 2, and switch_pipeline has 3',
    ):
        check_switches(yolox(), mixed, [long], 3)
    mixed.pipeline = Compose(long.switch_pipeline)  # what MMDetection does
    assert 'data_samples' not in mixed[0]
    assert warned == []


def test_it_is_checked_before_a_run_begins(start):
    """And not once its epoch has come."""
    hooks = [dict(type='RunCheckHook'), dict(type='YOLOXModeSwitchHook', num_last_epochs=1)]
    try:
        with pytest.raises(UserError, match='YOLOXModeSwitchHook'):
            start(None, custom_hooks=hooks, **{'train_cfg.max_epochs': 9})
    finally:
        MessageHub._instance_dict.clear()
