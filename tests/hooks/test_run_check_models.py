"""Detectors and evaluators of which a run would choose more than there is: it ends before that."""

import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.runner import Runner
from model_zoo import DETECTORS, inputs
from torch import nn

from mmadapt import UserError
from mmadapt.hooks import run_check_hook


class Accuracy(BaseMetric):
    """Of MMPretrain, by its name and the option that is looked at."""

    topk = (1, 5)

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return dict(quality=1)


class Mean(Accuracy):
    topk = None


class Classifier(BaseModel):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 3)
        self.head.num_classes = 3

    def forward(self, x, mode='tensor'):
        y = self.head(torch.stack(x))
        return dict(loss=y.square().mean()) if mode == 'loss' else [y]


@pytest.fixture
def runner(tmp_path):
    """Return a function that builds a runner, which trains, validates or tests."""

    def build(model, data, modes=('train', 'val'), metric=Mean, pipelines=None, **hooks):
        loader = dict(
            dataset=data,
            batch_size=2,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='pseudo_collate'),
        )
        given = {}
        for mode in modes:
            given[f'{mode}_dataloader'] = loader
            given[f'{mode}_cfg'] = dict(by_epoch=True, max_epochs=1) if mode == 'train' else {}
            if mode == 'train':
                given['optim_wrapper'] = dict(optimizer=dict(type='SGD', lr=1e-9))
            else:
                given[f'{mode}_evaluator'] = Evaluator([metric()])
        return Runner(
            model,
            str(tmp_path),
            **given,
            custom_hooks=[dict(type='RunCheckHook')],
            default_hooks=dict(checkpoint=dict(type='CheckpointHook', **hooks)),
            cfg=Config(
                {
                    f'{mode}_dataloader': dict(dataset=dict(pipeline=steps))
                    for mode, steps in (pipelines or {}).items()
                }
            ),
            visualizer=dict(type='Visualizer', vis_backends=[]),
            default_scope='mmengine',
            experiment_name=tmp_path.name,
            log_level='ERROR',
        )

    yield build
    MessageHub._instance_dict.clear()


VECTORS = [dict(x=torch.ones(4))] * 2


@pytest.fixture(scope='module')
def images():
    images, samples = inputs()
    for sample in samples:
        sample.gt_instances.labels %= 2
    return [
        dict(inputs=60 * image + 120, data_samples=sample)
        for image, sample in zip(images, samples, strict=True)
    ]


@pytest.fixture(scope='module')
def dino():
    """12 queries of the 193 tokens that an image has."""
    model = DETECTORS['DINO'].build().float()
    model.backbone.init_cfg = None  # nothing to download
    return model


@pytest.mark.parametrize('mode', ['train', 'val', 'test'])
def test_more_boxes_than_queries_give_are_refused_before_anything_runs(
    mode, runner, dino, images, monkeypatch
):
    monkeypatch.setitem(dino.bbox_head.test_cfg, 'max_per_img', 12 * 80 + 1)
    monkeypatch.setattr(dino, 'forward', None)
    with pytest.raises(UserError, match=r'model.test_cfg.max_per_img=961 of 12 queries x 80'):
        getattr(runner(dino, images, [mode]), mode)()


@pytest.mark.parametrize('mode', ['train', 'val', 'test'])
def test_images_of_fewer_tokens_than_queries(mode, runner, dino, images, monkeypatch):
    monkeypatch.setattr(dino, 'num_queries', 194)
    sizes = {mode: [dict(type='Resize', scale=(96, 96))]}
    with pytest.raises(UserError, match=f'the images of {mode}_dataloader, at most 96 x 96, have'):
        getattr(runner(dino, images, [mode], pipelines=sizes), mode)()
    # Where the steps do not say it, at the batch.
    again = runner(dino, images, [mode])
    with pytest.raises(UserError, match='the images of a batch have 193 tokens'):
        getattr(again, mode)()
    again.call_hook('after_run')
    assert not dino.encoder._forward_hooks


def test_what_fits_runs_and_leaves_nothing_on_the_model(runner, dino, images):
    runner(dino, images).train()
    assert not dino.encoder._forward_hooks


@pytest.mark.parametrize('mode', ['val', 'test'])
def test_accuracy_of_more_classes_than_there_are(mode, runner):
    with pytest.raises(UserError, match=rf'{mode}_evaluator.topk=\(1, 5\) of 3 classes'):
        getattr(runner(Classifier(), VECTORS, [mode], Accuracy), mode)()


def test_a_best_number_that_nobody_gives_is_named_before_the_run_where_that_is_known(
    runner, monkeypatch
):
    class CocoMetric(Mean):
        """By its name, of which the numbers are known."""

        __module__ = 'mmdet.evaluation'
        default_prefix, metrics, metric_items, classwise = 'coco', ['bbox'], None, False

    model = Classifier()
    monkeypatch.setattr(model, 'forward', None)
    with pytest.raises(UserError, match="save_best='coco/bbox_map': no evaluator .* coco/bbox_mAP"):
        runner(model, VECTORS, metric=CocoMetric, save_best='coco/bbox_map', rule='greater').train()


def test_and_after_the_first_validation_where_it_is_not(runner):
    with pytest.raises(UserError, match="save_best='qualty': .* nearest: quality"):
        runner(Classifier(), VECTORS, save_best='qualty', rule='greater').train()


@pytest.mark.parametrize('kind', ['PEFTInjectHook', 'MemoryHook'])
def test_hooks_of_this_package_bring_the_check_along(kind, runner, monkeypatch):
    checked = []
    monkeypatch.setattr(run_check_hook, 'check_boxes_wanted', checked.append)
    model = Classifier()
    built = runner(model, VECTORS)
    built._hooks = [hook for hook in built.hooks if type(hook).__name__ != 'RunCheckHook']
    keys = dict(
        MemoryHook=dict(memory=dict(checkpoint=['head'])),
        PEFTInjectHook=dict(
            peft=dict(
                method=dict(type='LoRA', r=1),
                targets=['head'],
                head='freeze',
                allow_random_base=True,
            )
        ),
    )
    built.cfg.update(keys[kind], optim_wrapper=dict(optimizer=dict(type='SGD', lr=1e-9)))
    built.register_hook(dict(type=kind))
    built.train()
    assert checked == [model]
