"""Resuming at every iteration there is, with data and a model that draw from every generator."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.registry import DATA_SAMPLERS, DATASETS, MODELS
from mmengine.runner import Runner
from torch import nn

import mmadapt.hooks.random_state_hook as random_state_hook
from mmadapt.files import read_checkpoint
from mmadapt.hooks.resume_data import inexact_because

EPOCH, EPOCHS = 3, 3  # 5 samples in batches of 2


def _draw():
    return random.random() + np.random.rand() + torch.rand(())


@DATASETS.register_module('resumed_toy')
class Data:
    metainfo = dict(classes=('thing',))

    def __len__(self):
        return 5

    def __getitem__(self, index):
        return dict(x=torch.full((4,), index + 0.0) + _draw())


@DATA_SAMPLERS.register_module('resumed_toy')
class Shuffled:
    """Takes its order from the generator of the process, as torch's RandomSampler does."""

    def __init__(self, dataset, seed):
        self.length = len(dataset)

    def __len__(self):
        return self.length

    def __iter__(self):
        return iter(torch.randperm(self.length).tolist())


@MODELS.register_module('resumed_toy')
class Noisy(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def forward(self, x, mode='loss'):
        return dict(loss=(self.layer(x) + _draw()).square().mean())


class Losses(Hook):
    def __init__(self):
        self.seen = {}

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.seen[runner.iter + 1] = batch_idx, outputs['loss'].item()


def _run(folder, kind='epoch', seed=3, resume=None, changes=None, **loader):
    """Train the toy; returns the losses by iteration, each with its index in the epoch."""
    losses = Losses()
    by_epoch = dict(
        train_cfg=dict(by_epoch=True, max_epochs=EPOCHS),
        sampler=dict(type='DefaultSampler', shuffle=True),
    )
    by_iter = dict(
        train_cfg=dict(by_epoch=False, max_iters=EPOCH * EPOCHS),
        sampler=dict(type='InfiniteSampler', shuffle=True),
    )
    chosen = by_iter if kind == 'iter' else by_epoch
    if kind == 'own order':
        chosen['sampler'] = dict(type='resumed_toy')
    cfg = Config(
        dict(
            work_dir=str(folder),
            model=dict(type='resumed_toy'),
            train_cfg=chosen['train_cfg'],
            train_dataloader={
                **dict(
                    dataset=dict(type='resumed_toy'),
                    sampler=chosen['sampler'],
                    batch_size=2,
                    num_workers=0,
                    collate_fn=dict(type='default_collate'),
                ),
                **loader,
            },
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01), accumulative_counts=2),
            default_hooks=dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=1)),
            randomness=dict(seed=seed),
            load_from=resume and str(resume),
            resume=resume is not None,
            visualizer=dict(type='Visualizer', vis_backends=[]),
            default_scope='mmengine',
            log_level='WARNING',
            experiment_name=f'{folder}_{resume}'.replace('/', '_'),
        )
    )
    cfg.update(changes or {})
    runner = Runner.from_cfg(cfg)
    runner.register_hook(losses)
    runner.register_hook(random_state_hook.RandomStateHook())
    runner.train()
    MessageHub._instance_dict.clear()
    return losses.seen


@pytest.mark.parametrize(
    ('kind', 'seed'), [('epoch', 3), ('epoch', None), ('own order', 3), ('iter', 3)]
)
def test_a_run_resumed_at_any_iteration_is_the_one_that_was_never_stopped(kind, seed, tmp_path):
    whole = _run(tmp_path / 'whole', kind, seed)
    assert sorted(whole) == list(range(1, EPOCH * EPOCHS + 1))
    last = f'iter_{EPOCH * EPOCHS}.pth'
    end = read_checkpoint(str(tmp_path / 'whole' / last))
    for stop in range(1, EPOCH * EPOCHS):
        folder = tmp_path / str(stop)
        rest = _run(folder, kind, seed, resume=tmp_path / 'whole' / f'iter_{stop}.pth')
        assert rest == {step: whole[step] for step in whole if step > stop}, f'from {stop}'
        resumed = read_checkpoint(str(folder / last))
        assert resumed['meta']['epoch'] == end['meta']['epoch']
        for key, value in end['state_dict'].items():
            assert torch.equal(resumed['state_dict'][key], value)
        assert torch.equal(resumed['rank_states'][0]['torch'], end['rank_states'][0]['torch'])
        assert resumed['rank_states'][0]['python'] == end['rank_states'][0]['python']


def test_worker_processes_make_the_same_batches_again(tmp_path):
    whole = _run(tmp_path / 'whole', seed=None, num_workers=2)
    rest = _run(
        tmp_path / 'rest', seed=None, num_workers=2, resume=tmp_path / 'whole' / 'iter_5.pth'
    )
    assert rest == {step: whole[step] for step in range(6, EPOCH * EPOCHS + 1)}


def test_another_length_of_the_epoch_is_said_and_begins_it_again(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(random_state_hook, 'print_log', lambda text, *_, **__: said.append(text))
    _run(tmp_path / 'whole')
    rest = _run(tmp_path / 'rest', batch_size=1, resume=tmp_path / 'whole' / 'iter_4.pth')
    assert 'the epoch had 3 batches when the checkpoint was written and has 5 now' in said[0]
    assert rest[5][0] == 0


def test_it_is_said_that_an_early_end_counts_anew(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(random_state_hook, 'print_log', lambda text, *_, **__: said.append(text))
    stopping = dict(custom_hooks=[dict(type='EarlyStoppingHook', monitor='x/mAP')])
    _run(tmp_path / 'whole', changes=stopping)
    assert said == []
    _run(tmp_path / 'rest', resume=tmp_path / 'whole' / 'iter_4.pth', changes=stopping)
    assert any('EarlyStoppingHook begins to count anew' in line for line in said)


@MODELS.register_module('keeping_toy')
class Keeping(Noisy):
    """Counts in an object of its own, and keeps what is too large for every checkpoint."""

    def __init__(self, counts=True):
        super().__init__()
        self.counter = SimpleNamespace(step=0) if counts else None
        self.maps = None

    def forward(self, x, mode='loss'):
        if self.counter is not None:
            self.counter.step += 1
        self.maps = torch.zeros(5, 2**20)
        return super().forward(x, mode)


def test_attributes_that_cannot_be_kept_or_have_no_place_are_said(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(random_state_hook, 'print_log', lambda text, *_, **__: said.append(text))
    _run(tmp_path / 'whole', changes=dict(model=dict(type='keeping_toy')))
    (line,) = said
    assert "['maps'] of the model are too large for every checkpoint" in line
    _run(
        tmp_path / 'rest',
        resume=tmp_path / 'whole' / 'iter_4.pth',
        changes=dict(model=dict(type='keeping_toy', counts=False)),
    )
    assert any(
        "values of ['counter.step'], which this model does not have" in line for line in said
    )


class CachedMixUp:
    results_cache = ()


class Cached(Data):
    pipeline = (CachedMixUp(),)


@pytest.mark.parametrize(
    ('workers', 'persistent', 'epoch', 'reason'),
    [
        (0, False, 1, 'the images that CachedMixUp has cached'),
        (0, False, 0, None),
        (1, False, 1, None),
        (1, True, 1, 'persistent_workers=True'),
    ],
)
def test_it_is_said_where_a_cache_keeps_a_resumed_run_from_being_exact(
    workers, persistent, epoch, reason, tmp_path
):
    from mmengine.runner import EpochBasedTrainLoop
    from torch.utils.data import DataLoader

    wrapped = type('Wrapper', (Data,), dict(dataset=Cached()))()
    loop = EpochBasedTrainLoop.__new__(EpochBasedTrainLoop)
    loop.dataloader = DataLoader(wrapped, num_workers=workers, persistent_workers=persistent)
    loop._epoch = epoch
    said = inexact_because(loop)
    assert said is None if reason is None else reason in said
