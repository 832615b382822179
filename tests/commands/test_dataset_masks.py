"""`mmadapt dataset` on exports with masks: what it writes trains and is evaluated."""

import json
import math

import numpy as np
import pytest
from coco_files import RUNS, box, coco, write_split
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image

from mmadapt.commands.dataset import main
from mmadapt.datasets import check_data

TINY = [4, 4, 20, 20]


def polygon(x, y, side):
    return [x, y, x + side, y, x + side, y + side, x, y + side]


def objects(images):
    """Three objects an image: one with a good mask, one with a bad part, one without a mask."""
    annotations = []
    for image in range(1, images + 1):
        for place, masks in enumerate(
            ([polygon(2, 4, 18)], [[22, 4, 40, 22], polygon(22, 4, 18)], [] if image % 2 else None)
        ):
            annotations.append(
                box(
                    len(annotations) + 1,
                    image=image,
                    category=1 + place % 2,
                    bbox=[2 + 20 * place, 4, 18, 18],
                    area=324,
                    segmentation=masks,
                )
            )
    return annotations


@pytest.fixture
def export(tmp_path):
    """An export in which a third of the annotations has no mask, and a third a bad part."""
    for seed, split in enumerate(('train', 'validation')):
        write_split(tmp_path / 'pets' / split, coco(objects(4), images=4))
        random = np.random.default_rng(seed)
        for path in (tmp_path / 'pets' / split).glob('*.png'):
            image = random.integers(0, 255, (48, 64, 3), dtype=np.uint8)
            Image.fromarray(image).save(path)
    return tmp_path / 'pets'


def annotations(path):
    return json.loads(path.read_text())['annotations']


def test_the_fix_keeps_boxes_and_writes_a_file_for_masks_without_the_rest(export, tmp_path, capsys):
    out = tmp_path / 'pets.py'
    assert main([str(export), '--out', str(out)]) == 0
    assert '--fix writes a second file' in capsys.readouterr().out
    assert main([str(export), '--fix', '--force', '--out', str(out)]) == 0
    said = capsys.readouterr().out
    assert 'dropped parts of 4 masks' in said
    assert 'for masks: left out 4 annotations without one' in said
    # What has been done is no advice any more.
    assert '--fix ' not in said
    assert (
        said.count(
            '-> good for boxes; for masks masks_annotations_fixed.json has been written, '
            'without them'
        )
        == 2
    )
    fixed = annotations(export / 'train' / 'annotations_fixed.json')
    assert len(fixed) == 12
    assert [len(a.get('segmentation') or []) for a in fixed] == [1, 1, 0] * 4
    masks = annotations(export / 'train' / 'masks_annotations_fixed.json')
    assert masks == [a for a in fixed if a.get('segmentation')]
    cfg = Config.fromfile(out)
    assert cfg.pets_val_evaluator.metric == 'bbox'
    assert cfg.pets_masks_val_evaluator.metric == ['bbox', 'segm']
    assert cfg.pets_masks_train.ann_file == 'train/masks_annotations_fixed.json'
    assert cfg.pets_masks_val_evaluator.ann_file.endswith('validation/masks_annotations_fixed.json')
    # Neither copy is taken for the export's own file the next time.
    assert main([str(export), '--out', str(tmp_path / 'again.py')]) == 0


def test_masks_that_are_all_good_need_no_second_file(export, tmp_path):
    for split in ('train', 'validation'):
        path = export / split / 'annotations_coco.json'
        path.write_text(
            json.dumps(
                coco(
                    [
                        box(1, segmentation=[polygon(4, 4, 20)]),
                        box(2, category=2, segmentation=RUNS),
                    ],
                    images=4,
                )
            )
        )
    out = tmp_path / 'pets.py'
    assert main([str(export), '--out', str(out)]) == 0
    cfg = Config.fromfile(out)
    assert cfg.pets_masks_train == cfg.pets_train
    assert cfg.pets_masks_val_evaluator == dict(cfg.pets_val_evaluator, metric=['bbox', 'segm'])
    assert cfg.pets_masks_test_evaluator == cfg.pets_masks_val_evaluator


def test_without_masks_in_every_annotation_or_a_fix_there_are_no_names_for_masks(export, tmp_path):
    out = tmp_path / 'pets.py'
    assert main([str(export), '--out', str(out)]) == 0
    assert 'pets_masks' not in out.read_text()


STOCK = dict(
    mask_rcnn=(
        'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
        """
model = dict(backbone=dict(depth=18, init_cfg=None), neck=dict(in_channels=[64, 128, 256, 512]),
             roi_head=dict(bbox_head=dict(num_classes=2), mask_head=dict(num_classes=2)),
             train_cfg=dict(rpn_proposal=dict(max_per_img=50)),
             test_cfg=dict(rpn=dict(max_per_img=20), rcnn=dict(score_thr=0.0, max_per_img=5)))
""",
    ),
    rtmdet_ins=(
        'mmdet::rtmdet/rtmdet-ins_tiny_8xb32-300e_coco.py',
        """
model = dict(backbone=dict(init_cfg=None), bbox_head=dict(num_classes=2),
             test_cfg=dict(score_thr=0.0, max_per_img=5))
custom_hooks = []
""",
    ),
)


def train(tmp_path, base, kind, names, poly2mask):
    """Train a stock model with the lines that the tool prints for masks, and evaluate it."""
    stock, model = STOCK[kind]
    path = tmp_path / f'{kind}.py'
    path.write_text(f"""
_base_ = ['{stock}', '{base}']
{model}
load = dict(type='LoadAnnotations', with_bbox=True, with_mask=True, poly2mask={poly2mask})
size = dict(type='Resize', scale=(64, 64), keep_ratio=False)
pack = dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape',
                                             'scale_factor'))
loader = dict(batch_size=2, num_workers=0, persistent_workers=False, pin_memory=False,
              batch_sampler=None)
train_dataloader = dict(**loader, dataset=dict(_base_.{names}_train, pipeline=[
    dict(type='LoadImageFromFile'), load, size, dict(type='RandomFlip', prob=0.5), pack]))
val_dataloader = dict(**loader, dataset=dict(_base_.{names}_val, pipeline=[
    dict(type='LoadImageFromFile'), size, load, pack]))
val_evaluator = _base_.{names}_val_evaluator
test_dataloader, test_cfg, test_evaluator = None, None, None
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=2, val_interval=2)
param_scheduler = []
optim_wrapper = dict(_delete_=True, optimizer=dict(type='SGD', lr=1e-4))
default_hooks = dict(checkpoint=dict(interval=9, by_epoch=False), logger=dict(interval=1))
work_dir = {str(tmp_path / kind)!r}
launcher = 'none'
experiment_name = {f'{kind}_{tmp_path.name}'!r}
""")
    cfg = Config.fromfile(path)
    check_data(cfg, ['train', 'val'])
    runner = Runner.from_cfg(cfg)
    metrics = runner.train() and runner.message_hub.log_scalars
    losses = [v for k, v in metrics.items() if k.startswith('train/loss') and 'mask' in k]
    scores = metrics['val/coco/segm_mAP'].current(), metrics['val/coco/bbox_mAP'].current()
    return losses, scores


@pytest.mark.parametrize(('kind', 'poly2mask'), [('mask_rcnn', True), ('rtmdet_ins', False)])
def test_what_the_fix_writes_trains_masks_and_evaluates_them(export, tmp_path, kind, poly2mask):
    out = tmp_path / 'pets.py'
    assert main([str(export), '--fix', '--out', str(out)]) == 0
    losses, scores = train(tmp_path, out, kind, 'pets_masks', poly2mask)
    assert losses
    assert all(0 < loss.current() < math.inf for loss in losses)
    assert all(0 <= score <= 1 for score in scores)
