"""What a warning about the schedule says to write is written, and the warning is gone."""

import argparse
import copy
import functools
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import mmdet
import pytest
from mmdet.engine.hooks import YOLOXModeSwitchHook
from mmengine.config import Config, DictAction

from mmadapt.preflight import find_inconsistencies

RTMDET = 'rtmdet/rtmdet_tiny_8xb32-300e_coco.py'
YOLOX = 'yolox/yolox_s_8xb8-300e_coco.py'
FASTER = 'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
MASK2FORMER = 'mask2former/mask2former_r50_8xb2-lsj-50e_coco.py'


@functools.cache
def read(name):
    return Config.fromfile(
        Path(mmdet.__file__).parent / '.mim' / 'configs' / name, import_custom_modules=False
    )


def stock(name, **options):
    cfg = copy.deepcopy(read(name))
    cfg.merge_from_dict(options)
    return cfg


def given(scheduler, **train_cfg):
    return Config(dict(train_cfg=train_cfg, param_scheduler=scheduler))


def write(cfg, line):
    """Do what a line says, as it is typed in a shell."""
    options = re.search(r'--cfg-options ((?:[\w.]+=(?:"[^"]*"|[\w.\-]+) ?)+)', line)
    assert options, line
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    words = ['--cfg-options', *shlex.split(options[1])]
    cfg.merge_from_dict(parser.parse_args(words).cfg_options)


CASES = [
    *(
        (lambda n=n, e=e: stock(n, **{'train_cfg.max_epochs': e}), 10)
        for n in (RTMDET, YOLOX, FASTER)
        for e in (1, 2, 3, 8, 40)
    ),
    (lambda: stock(MASK2FORMER, **{'train_cfg.max_iters': 1000}), None),
    (
        lambda: given(
            [
                dict(type='LinearLR', by_epoch=False, end=200),
                dict(type='PolyLR', by_epoch=False, begin=200, end=900),
            ],
            max_iters=100,
        ),
        None,
    ),
    (lambda: given(dict(type='MultiStepLR', milestones=[8, 11]), max_iters=100), None),
    (lambda: given(dict(type='MultiStepLR', milestones=[8, 11]), max_epochs=9), None),
    (lambda: given([dict(type='MultiStepLR', begin=20, milestones=[8, 11])], max_epochs=9), None),
    (lambda: given(dict(type='OneCycleLR', eta_max=1, end=90, total_steps=90), max_epochs=9), None),
    (
        lambda: given(
            dict(
                a=[dict(type='CosineAnnealingLR', T_max=24)],
                b=dict(type='CosineAnnealingLR', T_max=6),
            ),
            max_epochs=12,
        ),
        None,
    ),
    (
        lambda: Config(
            dict(
                train_cfg=dict(max_epochs=12),
                custom_hooks=[dict(type='PipelineSwitchHook', switch_epoch=-8)],
            )
        ),
        None,
    ),
]


@pytest.mark.parametrize(('make', 'length'), CASES)
def test_each_line_goes_when_its_option_is_typed_and_all_with_all(make, length):
    lines = find_inconsistencies(make(), length)
    assert lines
    every = make()
    for line in lines:
        alone = make()
        write(alone, line)
        assert line not in find_inconsistencies(alone, length)
        write(every, line)
    assert find_inconsistencies(every, length) == []


def test_the_stages_of_a_shortened_schedule_follow_each_other():
    cfg = stock(YOLOX, **{'train_cfg.max_epochs': 40})
    for line in find_inconsistencies(cfg, 10):
        write(cfg, line)
    warm_up, cosine, constant = cfg.param_scheduler
    assert (warm_up.end, cosine.begin, cosine.end, cosine.T_max) == (5, 5, 40, 35)
    assert (constant.begin, constant.end) == (39, 40)
    cfg = stock(YOLOX, **{'train_cfg.max_epochs': 8})
    for line in find_inconsistencies(cfg, 10):
        write(cfg, line)
    assert [(each.begin, each.end) for each in cfg.param_scheduler[:2]] == [(0, 1), (1, 8)]
    assert cfg.param_scheduler[1].T_max == 7


@pytest.mark.parametrize('epochs', [2, 3, 5, 60])
def test_the_plain_images_at_the_end_are_a_part_of_the_run(epochs):
    """By MMDetection's own hook, with the number that is named for it and with the one before."""
    cfg = stock(YOLOX, **{'train_cfg.max_epochs': epochs})
    cfg.custom_hooks[0].num_last_epochs = epochs - 1
    assert _first_epoch(cfg.custom_hooks[0], epochs) == 0
    (line,) = [line for line in find_inconsistencies(cfg) if 'on all of them' in line]
    write(cfg, line)
    assert 0 < _first_epoch(cfg.custom_hooks[0], epochs) < epochs


def _first_epoch(hook, epochs):
    hook = YOLOXModeSwitchHook(num_last_epochs=hook.num_last_epochs)
    runner = SimpleNamespace(
        max_epochs=epochs,
        logger=SimpleNamespace(info=lambda _: None),
        model=SimpleNamespace(bbox_head=SimpleNamespace()),
        train_dataloader=SimpleNamespace(
            dataset=SimpleNamespace(update_skip_type_keys=lambda _: None)
        ),
    )
    for runner.epoch in range(epochs):
        hook.before_train_epoch(runner)
        if hook._has_switched:
            return runner.epoch
    return None
