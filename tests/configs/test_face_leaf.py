"""The face config, with its three variables set as a user sets them, in MMEngine's own loops."""

import math
import re

import pytest
import torch
from leaf_chain import edited
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.hub import get_config
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

from mmadapt.config_files import CONFIGS
from mmadapt.datasets.checks import head_class_counts
from mmadapt.preflight import check_best, find_inconsistencies

# Those of boxes and of masks.
LEAVES = [
    path.stem
    for path in sorted((CONFIGS / 'peft').glob('*.py'))
    if re.search(r"'mmdet::.*/datasets/face_(det|ins)\.py'", path.read_text(), re.S)
]
IMAGES = 7  # of a data set; with a batch of 1, the iterations of an epoch


def read(tmp_path, name='rtmdet_tiny_lora_face', **variables):
    """Read a copy of a leaf in which variables at its top have other values."""
    return Config.fromfile(edited(name, tmp_path, **variables), import_custom_modules=False)


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


@pytest.mark.parametrize('leaf', LEAVES)
def test_the_best_is_that_of_what_the_model_is_for(leaf, tmp_path):
    """Of boxes and masks the boxes' figure comes first, and MMEngine's 'auto' takes the first."""
    cfg = read(tmp_path, leaf)
    masks = 'segm' in cfg.val_evaluator.metric
    assert masks == ('face_ins' in (CONFIGS / 'peft' / f'{leaf}.py').read_text())
    assert cfg.default_hooks.checkpoint.save_best == ('coco/segm_mAP' if masks else 'auto')
    check_best(cfg)


@pytest.mark.parametrize('max_epochs', [1, 2, 12, 40])
def test_the_rate_anneals_to_zero_over_the_epochs_asked_for(max_epochs, tmp_path):
    watch = run(read(tmp_path, max_epochs=max_epochs), tmp_path)
    total = max_epochs * IMAGES
    cosine = [5e-3 * (1 + math.cos(math.pi * step / total)) / 2 for step in range(total)]
    torch.testing.assert_close(watch.rates, cosine, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize(('max_epochs', 'plain'), [(1, 1), (2, 1), (12, 1), (40, 3), (300, 20)])
def test_the_run_ends_with_plain_images_as_long_as_rtmdet_does(max_epochs, plain, tmp_path):
    cfg = read(tmp_path, max_epochs=max_epochs)
    (switch,) = (hook for hook in cfg.custom_hooks if hook.type == 'PipelineSwitchHook')
    assert switch.switch_epoch == max_epochs - plain
    assert 'CachedMosaic' not in str(switch.switch_pipeline)
    if max_epochs <= 40:
        switched = run(cfg, tmp_path).switched
        assert switched == [False] * (max_epochs - plain) + [True] * plain


def test_epochs_from_the_command_line_anneal_too(tmp_path):
    cfg = read(tmp_path)
    cfg.merge_from_dict({'train_cfg.max_epochs': 3})
    rates = run(cfg, tmp_path).rates
    assert len(rates) == 3 * IMAGES
    assert rates[-1] < 0.01 * rates[0]


@pytest.mark.parametrize('leaf', LEAVES)
def test_root_and_classes_reach_every_loader_evaluator_and_head(leaf, tmp_path):
    classes = ('a', 'b', 'c', 'd', 'e')
    cfg = read(tmp_path, leaf, data_root='elsewhere/faces/', classes=classes)
    for split, folder in (('train', 'train'), ('val', 'validation'), ('test', 'validation')):
        # Nobody can set num_workers=0 beside workers that live on.
        assert not cfg[f'{split}_dataloader'].persistent_workers
        dataset = cfg[f'{split}_dataloader'].dataset
        dataset = dataset.get('dataset', dataset)
        assert (dataset.data_root, dataset.data_prefix) == (
            'elsewhere/faces/',
            {'img': f'{folder}/'},
        )
        assert dataset.ann_file == f'{folder}/annotations_coco.json'
        # Not a palette of two colors left for five classes, at which images are refused.
        assert dataset.metainfo == dict(classes=classes)
        if split != 'train':
            assert cfg[f'{split}_evaluator'].ann_file == f'elsewhere/faces/{dataset.ann_file}'
    used = [
        cfg[f'{split}_{what}']
        for split in ('train', 'val', 'test')
        for what in ('dataloader', 'evaluator')
        if f'{split}_{what}' in cfg
    ]
    assert 'data/face' not in str(used)
    assert 'data/coco' not in str(used)
    if 'language_model' not in cfg.model:  # which counts words
        counts = list(head_class_counts(cfg.model))
        assert counts
        assert {count for _, count in counts} == {5}


@pytest.mark.parametrize('leaf', LEAVES)
def test_a_leaf_keeps_the_stock_hooks_and_not_the_rates_for_single_layers(leaf, tmp_path):
    cfg = read(tmp_path, leaf)
    stock = get_config(re.search(r"'(mmdet::[^']+)'", cfg.text)[1])
    hooks = [hook.type for hook in stock.get('custom_hooks', [])]
    assert [hook.type for hook in cfg.custom_hooks] == [*hooks, 'PEFTInjectHook']
    assert 'paramwise_cfg' not in cfg.optim_wrapper
    assert (cfg.train_cfg.type, cfg.train_cfg.val_interval) == ('EpochBasedTrainLoop', 1)


@pytest.mark.parametrize('leaf', LEAVES)
def test_a_leaf_fetches_its_checkpoint_and_nothing_else(leaf, tmp_path):
    cfg = read(tmp_path, leaf)
    assert cfg.load_from.startswith('https://download.openmmlab.com/mmdetection/')
    assert 'Pretrained' not in str(cfg.model)


def test_the_face_config_has_its_settings(tmp_path):
    cfg = read(tmp_path)
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


@pytest.mark.parametrize('leaf', LEAVES)
@pytest.mark.parametrize('max_epochs', [2, 100])
def test_what_depends_on_the_length_of_a_run_fits_it(max_epochs, leaf, tmp_path):
    assert find_inconsistencies(read(tmp_path, leaf, max_epochs=max_epochs), 500) == []
