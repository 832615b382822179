"""A run of MMPose's RTMO that keeps what follows the keypoints that the checkpoint knows."""

import copy
import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import EMAHook, Hook
from mmengine.logging import MessageHub
from mmengine.runner import Runner
from PIL import Image

from mmadapt.config_model import build_model
from mmadapt.files import read_adapter

pytest.importorskip('mmpose', reason='MMPose is not installed')

# Two of COCO's, in another order, about a new one.
NAMES = ('left_ear', 'tail', 'nose')
_INFO = """
dataset_info = dict(
    dataset_name='animals', skeleton_info={{}}, joint_weights=[1.0] * 3, sigmas=[0.1, 0.2, 0.3],
    keypoint_info={{n: dict(name=name, id=n, color=[0, 0, 0], type='', swap='')
                   for n, name in enumerate({names!r})}})
"""
_LEAF = """
_base_ = ['mmpose::body_2d_keypoint/rtmo/coco/rtmo-s_8xb32-600e_coco-640x640.py']
custom_imports = dict(imports=['mmadapt'], allow_failed_imports=False)
load_from = {base!r}
peft = dict(method=dict(type='LoRA', r=2, alpha=4))
info = {info!r}
model = dict(
    backbone=dict(init_cfg=None),
    head=dict(num_keypoints={count}, loss_oks=dict(metainfo=info),
              assigner=dict(oks_calculator=dict(metainfo=info))))
codec = dict(type='YOLOXPoseAnnotationProcessor', input_size=(96, 96))
pipeline = [
    dict(type='LoadImage'),
    dict(type='BottomupRandomAffine', input_size=(96, 96), shift_prob=0, rotate_prob=0,
         scale_prob=0, scale_type='long', pad_val=(114, 114, 114), bbox_keep_corner=False,
         clip_border=True),
    dict(type='GenerateTarget', encoder=codec),
    dict(type='PackPoseInputs')]
train_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False,
    dataset=dict(_delete_=True, type='CocoDataset', data_mode='bottomup', data_root={data!r},
                 ann_file='train.json', data_prefix=dict(img=''), pipeline=pipeline,
                 metainfo=dict(from_file=info)))
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=1, val_interval=9)
val_cfg = val_dataloader = val_evaluator = None
test_cfg = test_dataloader = test_evaluator = None
param_scheduler = None
optim_wrapper = dict(_delete_=True, optimizer=dict(type='SGD', lr=0.0))
custom_hooks = [
    dict(type='EMAHook', ema_type='ExpMomentumEMA', update_buffers=True, priority=49),
    dict(type='PEFTInjectHook')]
"""


class BeginsWith(Hook):
    """Notes the tensors of the model and of its average before the first iteration."""

    priority = 'LOWEST'

    def before_train(self, runner):
        average = next(hook.ema_model.module for hook in runner.hooks if isinstance(hook, EMAHook))
        self.state = copy.deepcopy(runner.model.state_dict())
        self.average = copy.deepcopy(average.state_dict())


def write_data(folder):
    """Write two images with one animal each."""
    images, annotations = [], []
    for number in range(2):
        Image.fromarray(np.full((96, 96, 3), 90, np.uint8)).save(folder / f'{number}.png')
        images.append(dict(id=number, file_name=f'{number}.png', width=96, height=96))
        points = [30, 30, 2, 60, 40, 2, 50, 70, 2]
        annotations.append(
            dict(id=number + 1, image_id=number, category_id=1, bbox=[20, 20, 60, 60], area=3600,
                 iscrowd=0, keypoints=points, num_keypoints=3, segmentation=[])
        )  # fmt: skip
    category = dict(id=1, name='animal', keypoints=[*NAMES], skeleton=[])
    (folder / 'train.json').write_text(
        json.dumps(dict(images=images, annotations=annotations, categories=[category]))
    )


def leaf(folder, **values):
    path = folder / 'leaf.py'
    path.write_text(_LEAF.format(data=str(folder), **values))
    cfg = Config.fromfile(path)
    cfg.work_dir = str(folder / 'run')
    cfg.visualizer = dict(type='Visualizer', vis_backends=[])
    return cfg


def test_keypoints_that_the_checkpoint_knows_start_from_its_rows(tmp_path):
    write_data(tmp_path)
    info = tmp_path / 'info.py'
    info.write_text(_INFO.format(names=NAMES))
    stock = leaf(tmp_path, base=None, info='configs/_base_/datasets/coco.py', count=17)
    base = build_model(stock).state_dict()
    base['head.dcc.pose_to_kpts.1.running_mean'].normal_()
    names = ['nose', 'left_eye', 'right_eye', 'left_ear', *(f'other {n}' for n in range(13))]
    meta = dict(dataset_meta=dict(keypoint_id2name=dict(enumerate(names))))
    torch.save(dict(state_dict=base, meta=meta), tmp_path / 'base.pth')
    cfg = leaf(tmp_path, base=str(tmp_path / 'base.pth'), info=str(info), count=3)
    runner, begins = Runner.from_cfg(cfg), BeginsWith()
    runner.register_hook(begins)
    runner.train()
    MessageHub._instance_dict.clear()
    for state in (begins.state, begins.average):
        for key, width in {
            'head.head_module.out_kpt_reg.1.weight': 2,
            'head.head_module.out_kpt_vis.0.bias': 1,
            'head.dcc.pos_enc': 1,
            'head.dcc.sigma_fc.0.weight': 1,
            'head.dcc.pose_to_kpts.0.weight': 128,
            'head.dcc.pose_to_kpts.1.running_mean': 128,
        }.items():
            ours, wanted = state[key].split(width), base[key].split(width)
            assert len(ours) == 3
            assert torch.equal(ours[0], wanted[3]), key
            assert torch.equal(ours[2], wanted[0]), key
        assert torch.allclose(state['head.loss_oks.sigmas'], torch.tensor([0.1, 0.2, 0.3]))
    record, stored = read_adapter(str(tmp_path / 'run' / 'adapter'))
    assert record.keypoint_names == [*NAMES]
    assert 'head.loss_oks.sigmas' in stored
