"""Stock models that keep what the next step depends on outside their state dict, resumed."""

import copy

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.registry import DATASETS, HOOKS
from mmengine.runner import Runner
from model_zoo import _CONFIGS, _FPN, _NARROW, _RCNN, _WIDTHS, SIZE, inputs

from mmadapt.commands import train as train_command
from mmadapt.files import read_checkpoint

_DROP = dict(
    cfg=dict(type='DropBlock', drop_prob=0.3, block_size=3, warmup_iters=3),
    stages=(False, True, False, False),
    position='after_conv2',
)
# Each with what it keeps and changes every few iterations.
MODELS = {
    'yolox': (
        'yolox/yolox_tiny_8xb8-300e_coco.py',
        dict(
            data_preprocessor=dict(
                batch_augments=[
                    dict(
                        type='BatchSyncRandomResize',
                        random_size_range=(64, 160),
                        size_divisor=32,
                        interval=2,
                    )
                ]
            )
        ),
        ('_input_size',),
    ),
    'ddod': (
        'ddod/ddod_r50_fpn_1x_coco.py',
        dict(
            # Deformable convolutions want three rows on the coarsest level.
            backbone=_NARROW,
            neck=dict(in_channels=_WIDTHS, out_channels=16),
            bbox_head=dict(
                in_channels=16,
                feat_channels=16,
                stacked_convs=1,
                norm_cfg=dict(type='GN', num_groups=4),
            ),
            data_preprocessor=dict(pad_size_divisor=384),
        ),
        ('cls_num_pos_samples_per_level',),
    ),
    'dynamic r-cnn': (
        'dynamic_rcnn/dynamic-rcnn_r50_fpn_1x_coco.py',
        dict(
            _FPN,
            test_cfg=_RCNN['test_cfg'],
            train_cfg=dict(
                _RCNN['train_cfg'],
                rcnn=dict(
                    dynamic_rcnn=dict(update_iter_interval=3, initial_iou=0.1, initial_beta=0.5)
                ),
            ),
            roi_head=dict(bbox_head=dict(fc_out_channels=64)),
        ),
        ('iou_history', 'beta_history', 'pos_iou_thr', 'neg_iou_thr', 'min_pos_iou', 'beta'),
    ),
    'dropblock': (
        'retinanet/retinanet_r50_fpn_1x_coco.py',
        dict(backbone=dict(_NARROW, plugins=[_DROP]), neck=dict(in_channels=_WIDTHS)),
        ('iter_cnt',),
    ),
}
PEFT = dict(method=dict(type='LoRA', r=2), allow_random_base=True)


@DATASETS.register_module('resumed_models')
class Images:
    metainfo = dict(classes=('thing',))

    def __len__(self):
        return 4

    def __getitem__(self, index):
        images, samples = inputs()
        sample = copy.deepcopy(samples[index % 2])
        sample.gt_instances.labels %= 2
        height = SIZE - 32 * (index // 2)  # differs, so that the order counts
        return dict(inputs=(60 * images[index % 2] + 120)[:, :height], data_samples=sample)


@HOOKS.register_module('resumed_losses')
class Losses(Hook):
    seen = {}

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.seen[runner.iter + 1] = {key: value.item() for key, value in outputs.items()}


def by_mmengine(cfg, monkeypatch):
    Runner.from_cfg(cfg).train()


def by_our_tool(cfg, monkeypatch):
    path = f'{cfg.work_dir}_config.py'
    cfg.dump(path)
    train_command.main([path, '--work-dir', cfg.work_dir])


def train(name, folder, resume=None, start=by_mmengine, monkeypatch=None, **changes):
    """Train four iterations in two epochs; returns their losses and the last checkpoint."""
    config, model, _ = MODELS[name]
    cfg = Config.fromfile(_CONFIGS / config)
    cfg.merge_from_dict(dict(model=model))
    last = folder / 'iter_4.pth'
    cfg = Config(
        dict(
            default_scope='mmdet',
            work_dir=str(folder),
            model=cfg.model,
            randomness=dict(seed=1),
            train_cfg=dict(by_epoch=True, max_epochs=2),
            train_dataloader=dict(
                dataset=dict(type='resumed_models'),
                batch_size=2,
                num_workers=0,
                sampler=dict(type='DefaultSampler', shuffle=True),
                collate_fn=dict(type='pseudo_collate'),
            ),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=1e-4)),
            custom_hooks=[dict(type='RandomStateHook')],
            default_hooks=dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=1)),
            load_from=resume and str(resume),
            resume=resume is not None,
            log_level='WARNING',
            visualizer=dict(type='Visualizer', vis_backends=[]),
            experiment_name=str(folder),
        )
    )
    for module in (cfg.model.backbone, cfg.model):
        module.init_cfg = None
    cfg.merge_from_dict(changes)
    cfg.custom_hooks = [*cfg.custom_hooks, dict(type='resumed_losses')]
    monkeypatch.setattr(Losses, 'seen', {})
    start(cfg, monkeypatch)
    MessageHub._instance_dict.clear()
    return Losses.seen, read_checkpoint(str(last))


def same(one, other):
    assert one['state_dict'].keys() == other['state_dict'].keys()
    for key, value in one['state_dict'].items():
        assert torch.equal(other['state_dict'][key], value), key
    assert one['rank_states'][0]['attributes'] == other['rank_states'][0]['attributes']


# At the end of an epoch and inside one.
@pytest.mark.parametrize(
    ('name', 'changes', 'stops'),
    [
        *((name, {}, (2, 3)) for name in MODELS),
        ('yolox', dict(peft=PEFT, custom_hooks=[dict(type='PEFTInjectHook')]), (2, 3)),
        (
            'yolox',
            dict(memory=dict(checkpoint=['CSPLayer']), custom_hooks=[dict(type='MemoryHook')]),
            (3,),
        ),
        ('yolox', dict(start=by_our_tool, custom_hooks=[]), (3,)),
    ],
    ids=[*MODELS, 'yolox with peft', 'yolox with memory', 'yolox by our tool'],
)
def test_a_resumed_run_is_the_uninterrupted_one(name, changes, stops, tmp_path, monkeypatch):
    changes = dict(changes, monkeypatch=monkeypatch)
    whole, end = train(name, tmp_path / 'whole', **changes)
    kept = {path[-1] for path, _ in end['rank_states'][0]['attributes']}
    assert kept >= set(MODELS[name][2])
    for stop in stops:
        rest, last = train(
            name, tmp_path / str(stop), resume=tmp_path / 'whole' / f'iter_{stop}.pth', **changes
        )
        assert rest == {step: whole[step] for step in range(stop + 1, 5)}
        same(last, end)
