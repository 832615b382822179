"""The face config, with its three variables set as a user sets them, in MMEngine's own loops."""

import math
import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

CONFIGS = Path(__file__).parents[2] / 'configs'
LEAF = CONFIGS / 'peft' / 'rtmdet_tiny_lora_face.py'
IMAGES = 7  # of a data set; with a batch of 1, the iterations of an epoch


def edited(tmp_path, leaf=LEAF, **variables):
    """Read a copy of a leaf in which variables at its top have other values."""
    text = leaf.read_text().replace("'../_base_/", f"'{CONFIGS}/_base_/")
    for name, value in variables.items():
        text, count = re.subn(rf'^{name} = .*$', f'{name} = {value!r}', text, flags=re.M)
        assert count == 1, f'{name} is not one variable of {leaf.name}'
    (tmp_path / 'leaf.py').write_text(text)
    return Config.fromfile(tmp_path / 'leaf.py', import_custom_modules=False)


class Scalar(BaseModel):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, inputs, data_samples=None, mode='loss'):
        return dict(loss=(self.weight * inputs[0]).sum() * 0)


class Images(torch.utils.data.Dataset):
    """Stands for the training data set; the switch hook sets its pipeline."""

    pipeline = None
    metainfo = {}

    def __len__(self):
        return IMAGES

    def __getitem__(self, index):
        return dict(inputs=torch.ones(1), data_samples=0)


class Watch(Hook):
    """Note the rate of every iteration and the pipeline of every epoch."""

    priority = 'LOWEST'  # after the switch hook

    def __init__(self):
        self.rates, self.switched = [], []

    def before_train_epoch(self, runner):
        self.switched.append(runner.train_dataloader.dataset.pipeline is not None)

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.rates.append(runner.optim_wrapper.get_lr()['lr'][0])


def run(cfg, work_dir):
    """Train a model of one weight in the loop, with the schedule and switch hook of a config."""
    watch = Watch()
    switch = [hook for hook in cfg.custom_hooks if hook.type == 'PipelineSwitchHook']
    Runner(
        model=Scalar(),
        work_dir=str(work_dir),
        experiment_name=f'leaf_{work_dir.name}',
        train_dataloader=dict(
            batch_size=1,
            dataset=Images(),
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=True),
        ),
        train_cfg=cfg.train_cfg,
        optim_wrapper=cfg.optim_wrapper,
        param_scheduler=cfg.param_scheduler,
        default_scope='mmdet',
        custom_hooks=[*switch, watch],
        default_hooks=dict(checkpoint=None),
        log_level='ERROR',
    ).train()
    return watch


@pytest.mark.parametrize('max_epochs', [1, 2, 12, 40])
def test_the_rate_anneals_to_zero_over_the_epochs_asked_for(max_epochs, tmp_path):
    watch = run(edited(tmp_path, max_epochs=max_epochs), tmp_path)
    total = max_epochs * IMAGES
    cosine = [5e-3 * (1 + math.cos(math.pi * step / total)) / 2 for step in range(total)]
    torch.testing.assert_close(watch.rates, cosine, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize(('max_epochs', 'plain'), [(1, 1), (2, 1), (12, 1), (40, 3), (300, 20)])
def test_the_run_ends_with_plain_images_as_long_as_rtmdet_does(max_epochs, plain, tmp_path):
    cfg = edited(tmp_path, max_epochs=max_epochs)
    (switch,) = (hook for hook in cfg.custom_hooks if hook.type == 'PipelineSwitchHook')
    assert switch.switch_epoch == max_epochs - plain
    assert 'CachedMosaic' not in str(switch.switch_pipeline)
    if max_epochs <= 40:
        switched = run(cfg, tmp_path).switched
        assert switched == [False] * (max_epochs - plain) + [True] * plain


def test_epochs_from_the_command_line_anneal_too(tmp_path):
    cfg = edited(tmp_path)
    cfg.merge_from_dict({'train_cfg.max_epochs': 3})
    rates = run(cfg, tmp_path).rates
    assert len(rates) == 3 * IMAGES
    assert rates[-1] < 0.01 * rates[0]


@pytest.mark.parametrize('leaf', ['rtmdet_tiny_lora_face.py', 'faster-rcnn_r50_lora_face.py'])
def test_one_data_root_reaches_every_loader_and_evaluator(leaf, tmp_path):
    cfg = edited(tmp_path, CONFIGS / 'peft' / leaf, data_root='elsewhere/faces/')
    for split, folder in (('train', 'train'), ('val', 'validation'), ('test', 'validation')):
        dataset = cfg[f'{split}_dataloader'].dataset
        assert (dataset.data_root, dataset.data_prefix.img) == ('elsewhere/faces/', f'{folder}/')
        assert dataset.ann_file == f'{folder}/annotations_coco.json'
        if split != 'train':
            assert cfg[f'{split}_evaluator'].ann_file == f'elsewhere/faces/{dataset.ann_file}'
    used = [
        cfg[f'{split}_{what}']
        for split in ('train', 'val', 'test')
        for what in ('dataloader', 'evaluator')
        if f'{split}_{what}' in cfg
    ]
    assert 'data/face_det' not in str(used)
    assert 'data/coco' not in str(used)


@pytest.mark.parametrize(
    ('leaf', 'head'),
    [
        ('rtmdet_tiny_lora_face.py', 'bbox_head'),
        ('faster-rcnn_r50_lora_face.py', 'roi_head.bbox_head'),
    ],
)
def test_one_tuple_of_classes_reaches_the_head_and_every_loader(leaf, head, tmp_path):
    classes = ('a', 'b', 'c', 'd', 'e')
    cfg = edited(tmp_path, CONFIGS / 'peft' / leaf, classes=classes)
    node = cfg.model
    for name in head.split('.'):
        node = node[name]
    assert node.num_classes == 5
    for split in ('train', 'val', 'test'):
        # Not a palette of two colors left for five classes, at which images are refused.
        assert cfg[f'{split}_dataloader'].dataset.metainfo == dict(classes=classes)


def test_the_face_config_has_its_settings(tmp_path):
    cfg = edited(tmp_path)
    assert cfg.peft == dict(
        method=dict(type='LoRA', r=32, alpha=16, dropout=0.1),
        targets='auto',
        exclude=[],
        head='auto',  # trained, that of a one-stage detector
        norm='freeze',
        adapter=None,
        export='state_dict',
    )
    assert cfg.optim_wrapper.type == 'OptimWrapper'
    assert cfg.optim_wrapper.accumulative_counts == 4
    assert 'paramwise_cfg' not in cfg.optim_wrapper
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ('SGD', 5e-3, 0)
    assert (cfg.train_dataloader.batch_size, cfg.train_dataloader.num_workers) == (1, 4)
    # Workers that outlive an epoch make a resumed run differ from an uninterrupted one.
    assert not cfg.train_dataloader.persistent_workers
    assert (cfg.train_cfg.max_epochs, cfg.model.bbox_head.num_classes) == (1, 2)
    assert cfg.default_hooks.checkpoint.max_keep_ckpts == 5
    assert cfg.randomness.seed == 56
    assert cfg.auto_scale_lr.base_batch_size == 2
    assert [hook.type for hook in cfg.custom_hooks] == [
        'EMAHook',
        'PipelineSwitchHook',
        'PEFTInjectHook',
    ]
    assert cfg.model.backbone.init_cfg is None, 'it would fetch ImageNet weights for nothing'
