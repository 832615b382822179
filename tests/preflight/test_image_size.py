"""The size of the images that a config trains on, as its transforms make them."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import init_default_scope

from mmadapt.preflight.image_size import image_size, padded

pytest.importorskip('mmdet', reason='MMDetection is not installed')
# What their authors say of them; the last padded by the data preprocessor.
STOCK = {
    'rtmdet/rtmdet_tiny_8xb32-300e_coco.py': (640, 640),
    'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py': (800, 1344),
    'dino/dino-5scale_swin-l_8xb2-12e_coco.py': (800, 1333),
    'conditional_detr/conditional-detr_r50_8xb2-50e_coco.py': (800, 1333),
    'ssd/ssd300_coco.py': (300, 300),
    'yolox/yolox_s_8xb8-300e_coco.py': (800, 800),
    'mask2former/mask2former_r50_8xb2-lsj-50e_coco.py': (1024, 1024),
    'crowddet/crowddet-rcnn_r50_fpn_8xb2-30e_crowdhuman.py': (832, 1408),
    'simple_copy_paste/mask-rcnn_r50_fpn_rpn-2conv_4conv1fc_syncbn-all_32xb2-ssj-scp-90k_coco.py': (
        1024,
        1024,
    ),
}


@pytest.mark.parametrize('name', STOCK)
def test_the_size_of_a_stock_config_is_that_of_its_pipeline(name):
    assert image_size(get_config(f'mmdet::{name}')) == STOCK[name]


# Each is run on wide and high images, and none of the results is larger.
PIPELINES = [
    [dict(type='Resize', scale=(333, 200), keep_ratio=True)],
    [dict(type='Resize', scale=(64, 96), keep_ratio=False)],
    [dict(type='RandomChoiceResize', scales=[(200, 100), (120, 160)], keep_ratio=False)],
    [dict(type='RandomResize', scale=[(333, 100), (333, 200)], keep_ratio=True)],
    [
        dict(type='RandomResize', scale=(100, 60), ratio_range=(0.5, 2.0), keep_ratio=True),
        dict(type='RandomCrop', crop_size=(64, 96)),
        dict(type='Pad', size=(64, 96)),
    ],
    [
        dict(type='Resize', scale=(100, 60), keep_ratio=True),
        dict(type='RandomCrop', crop_type='absolute_range', crop_size=(20, 50)),
    ],
    [
        dict(
            type='RandomChoice',
            transforms=[
                [dict(type='Resize', scale=(90, 60))],
                [dict(type='Resize', scale=(96, 70))],
            ],
        )
    ],
    [
        dict(type='Resize', scale=(90, 60)),
        dict(type='Expand', ratio_range=(1, 2)),
        dict(type='Pad', size_divisor=32),
    ],
    [
        dict(type='Resize', scale=(90, 60)),
        dict(type='Pad', pad_to_square=True),
        dict(type='RandomAffine', border=(-10, -5)),
    ],
]


@pytest.mark.parametrize('pipeline', PIPELINES, ids=lambda p: p[-1]['type'])
def test_a_pipeline_makes_nothing_larger_and_what_is_said(pipeline):
    from mmcv.transforms import Compose
    from mmdet.registry import TRANSFORMS
    from mmdet.structures.bbox import HorizontalBoxes

    init_default_scope('mmdet')
    height, width = image_size(dict(train_dataloader=dict(dataset=dict(pipeline=pipeline))))
    transforms, made = Compose([TRANSFORMS.build(step) for step in pipeline]), []
    np.random.seed(0)
    for size in [(120, 200), (200, 120), (80, 400)] * 20:
        image = np.zeros((*size, 3), dtype=np.uint8)
        found = transforms(
            dict(
                img=image,
                img_shape=size,
                ori_shape=size,
                gt_ignore_flags=np.zeros(1, dtype=bool),
                gt_bboxes=HorizontalBoxes(torch.tensor([[0.0, 0, size[1], size[0]]])),
                gt_bboxes_labels=np.zeros(1, dtype=np.int64),
            )
        )
        made.append(found['img'].shape[:2])
    assert max(h * w for h, w in made) <= height * width
    assert max(max(sides) for sides in made) in (
        [max(height, width)]
        if pipeline[-1]['type'] not in ('RandomResize', 'Pad', 'RandomCrop')
        else range(max(height, width) - 40, max(height, width) + 1)
    )


def test_a_pipeline_of_a_hook_and_of_joined_data_sets_counts_too():
    def sized(side):
        return [dict(type='mmdet.Resize', scale=side, keep_ratio=True)]

    dataset = dict(
        type='ConcatDataset',
        datasets=[
            dict(pipeline=sized(64)),
            dict(type='RepeatDataset', dataset=dict(pipeline=sized(96))),
        ],
    )
    cfg = dict(train_dataloader=dict(dataset=dataset))
    assert image_size(cfg) == (96, 96)
    cfg['custom_hooks'] = [dict(type='PipelineSwitchHook', switch_pipeline=sized(128))]
    assert image_size(cfg) == (128, 128)


@pytest.mark.parametrize(
    'cfg',
    [
        dict(),
        dict(train_dataloader=None),
        dict(train_dataloader=dict(dataset=dict(type='Own'))),
        dict(train_dataloader=dict(dataset=dict(pipeline=[dict(type='PackDetInputs')]))),
    ],
)
def test_where_nothing_says_it_there_is_none(cfg):
    assert image_size(Config(cfg)) is None


def test_a_size_is_padded_as_the_data_preprocessor_does():
    assert padded((800, 1333), dict(pad_size_divisor=32)) == (800, 1344)
    assert padded((800, 1333), None) == padded((800, 1333), dict()) == (800, 1333)
