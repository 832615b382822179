"""Bounds of what pipelines make, against the images that they make."""

import numpy as np
import pytest
from mmdet.registry import TRANSFORMS
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope

from mmadapt.preflight.input_sizes import largest_image, tokens_of

CHOICE = dict(
    type='RandomChoice',
    transforms=[
        [dict(type='RandomChoiceResize', scales=[(48, 96), (64, 96)], keep_ratio=True)],
        [
            dict(type='RandomChoiceResize', scales=[(40, 80)], keep_ratio=True),
            dict(
                type='RandomCrop',
                crop_type='absolute',
                crop_size=(30, 30),
                allow_negative_crop=True,
            ),
            dict(type='RandomChoiceResize', scales=[(56, 100)], keep_ratio=True),
        ],
    ],
)


@pytest.mark.parametrize(
    'steps',
    [
        [dict(type='Resize', scale=(96, 64), keep_ratio=True)],
        [dict(type='Resize', scale=(96, 64), keep_ratio=False), dict(type='RandomFlip', prob=0.5)],
        [dict(type='RandomFlip', prob=0.5), CHOICE],
        [dict(type='Resize', scale=(96, 64), keep_ratio=True), dict(type='Pad', size_divisor=32)],
        [dict(type='Resize', scale=(96, 64), keep_ratio=True), dict(type='Pad', size=(128, 100))],
    ],
)
def test_no_image_exceeds_the_bound(steps):
    init_default_scope('mmdet')
    pipeline = Compose([TRANSFORMS.build(dict(step)) for step in steps])
    bound = largest_image(steps)
    for seed, shape in enumerate([(200, 300), (300, 200), (50, 50), (10, 400)] * 5):
        np.random.seed(seed)
        made = pipeline(
            dict(
                img=np.zeros((*shape, 3), np.uint8),
                gt_bboxes_labels=np.zeros(0, int),
                img_shape=shape,
                ori_shape=shape,
            )
        )
        sides = sorted(made['img'].shape[:2])
        assert sides[0] <= min(bound)
        assert sides[1] <= max(bound)


@pytest.mark.parametrize(
    'steps',
    [
        [],
        [dict(type='RandomFlip', prob=0.5)],
        [dict(type='Resize', scale_factor=2.0)],
        [dict(type='Resize', scale=(96, 64)), dict(type='Mosaic', img_scale=(64, 64))],
    ],
)
def test_of_others_nothing_is_said(steps):
    assert largest_image(steps) is None


def test_tokens_of_a_small_image():
    assert tokens_of((192, 192), (8, 16, 32, 64)) == 24**2 + 12**2 + 6**2 + 3**2 == 765
    assert tokens_of((190, 100), (8, 16)) == 24 * 13 + 12 * 7
    assert tokens_of((190, 100), (8,), divisor=32) == 24 * 16
