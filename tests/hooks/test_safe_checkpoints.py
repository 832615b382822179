"""A run that is killed at any moment leaves a whole checkpoint, and the best one."""

import multiprocessing
import os
import signal
from contextlib import contextmanager

import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.fileio import LocalBackend, get_file_backend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.hooks import checkpoint_hook as stock
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

from mmadapt.cli.checkpoints import last_checkpoint
from mmadapt.files.atomic import AtomicLocalBackend
from mmadapt.hooks import secure_checkpoints
from mmadapt.runner import FlexibleRunner

EPOCHS = 3
OPTIMIZER = dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)))


class Model(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def forward(self, x, mode='tensor'):
        y = self.layer(torch.stack(x))
        return dict(loss=y.square().mean()) if mode == 'loss' else [y]


class Better(BaseMetric):
    """A metric that is better each time."""

    times = 0

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        Better.times += 1
        return dict(acc=Better.times, other_acc=Better.times)


def train(work_dir, by_epoch=True, secure=True, kind=Runner, more=None, **options):
    loader = dict(
        batch_size=2,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=[dict(x=torch.ones(4))] * 2,
    )
    loops = (
        dict(by_epoch=True, max_epochs=EPOCHS, val_interval=1)
        if by_epoch
        else dict(by_epoch=False, max_iters=EPOCHS, val_interval=1)
    )
    runner = kind(
        model=Model(),
        work_dir=str(work_dir),
        train_dataloader=loader,
        val_dataloader=loader,
        train_cfg=loops,
        val_cfg={},
        val_evaluator=dict(type=Better),
        **OPTIMIZER,
        default_hooks=dict(
            checkpoint=dict(
                dict(type='CheckpointHook', interval=1, max_keep_ckpts=1, save_best='acc'),
                by_epoch=by_epoch,
                rule='greater',
                **options,
            )
        ),
        visualizer=dict(type='Visualizer', vis_backends=[]),
        default_scope='mmengine',
        experiment_name=work_dir.name,
        log_level='ERROR',
        **(more or {}),
    )
    if secure:
        secure_checkpoints(runner)
    runner.train()
    return runner


@contextmanager
def at_every_moment(act):
    """Call a function before and after a run's files are written, renamed or deleted."""

    def around(patch, owner, name, function):
        def wrapped(*args, **kwargs):
            act()
            result = function(*args, **kwargs)
            act()
            return result

        patch.setattr(owner, name, wrapped, raising=False)

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in (
            (LocalBackend, 'put'),
            (AtomicLocalBackend, 'put'),
            (LocalBackend, 'remove'),
            (LocalBackend, 'rmtree'),
            (os, 'replace'),
        ):
            around(patch, owner, name, getattr(owner, name))
        around(patch, stock, 'open', open)  # of the note which checkpoint is the last
        yield


@pytest.mark.parametrize(
    'options',
    [dict(), dict(by_epoch=False), dict(save_best=['acc', 'other_acc'])],
    ids=['epochs', 'iterations', 'two best'],
)
def test_at_every_moment_the_last_and_the_best_checkpoint_are_whole(options, tmp_path):
    """What a folder holds at a moment is what a kill then leaves."""
    folder, moments = tmp_path / 'run', []
    kinds = ['acc', 'other_acc'][: len(options.get('save_best', ['acc']))]

    def look():
        best = [_whole(folder, f'best_{kind}_*.pth') for kind in kinds]
        last = _whole(folder, 'epoch_*.pth', 'iter_*.pth')
        if (folder / 'last_checkpoint').exists():
            assert last_checkpoint(str(folder)) in last, 'what --resume takes'
        moments.append((last, *best))

    with at_every_moment(look):
        train(folder, **options)
    assert len(moments) > 50
    for kind, found in zip(['last', *kinds], zip(*moments, strict=True), strict=True):
        first = next(i for i, paths in enumerate(found) if paths)
        assert all(found[first:]), f'the {kind} one is missing at a moment'
        assert max(len(paths) for paths in found) == 2
        assert len(found[-1]) == 1, 'older ones are still there'


def test_folders_are_replaced_as_files_are(tmp_path):
    """Sharded checkpoints, and those of DeepSpeed."""

    class Folders(Runner):
        def save_checkpoint(self, out_dir, filename, *args, **options):
            super().save_checkpoint(f'{out_dir}/{filename}', 'rest.pth', *args, **options)

    folder, moments = tmp_path / 'run', []
    with at_every_moment(
        lambda: moments.append(
            [_whole(folder, f'{kind}_*.pth/rest.pth') for kind in ('epoch', 'best')]
        )
    ):
        train(folder, kind=Folders)
    for found in zip(*moments, strict=True):
        first = next(i for i, paths in enumerate(found) if paths)
        assert all(found[first:]), 'one is missing at a moment'
        assert len(found[-1]) == 1, 'older ones are still there'


def _whole(folder, *patterns):
    paths = [path for pattern in patterns for path in folder.glob(pattern)]
    for path in paths:
        assert 'layer.weight' in torch.load(path, weights_only=True)['state_dict']
    return [str(path) for path in paths]


def test_a_run_that_is_killed_while_it_replaces_its_only_checkpoint_has_one(tmp_path):
    """Killed when the second one is about to be written."""

    def kill(self, obj, filepath):
        if filepath.endswith('epoch_2.pth'):
            os.kill(os.getpid(), signal.SIGKILL)
        put(self, obj, filepath)

    def act():
        AtomicLocalBackend.put = LocalBackend.put = kill
        train(tmp_path / 'run', save_best=None)

    put = AtomicLocalBackend.put
    process = multiprocessing.get_context('fork').Process(target=act)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert last_checkpoint(str(tmp_path / 'run')) in _whole(tmp_path / 'run', '*.pth')


def test_files_have_the_same_content_and_names_as_without(tmp_path):
    left = {}
    for secure in (True, False):
        Better.times = 0
        folder = tmp_path / str(secure)
        train(folder, secure=secure, max_keep_ckpts=2)
        left[secure] = {path.name: torch.load(path) for path in folder.glob('*.pth')}
    assert (
        left[True].keys()
        == left[False].keys()
        == {'epoch_2.pth', 'epoch_3.pth', 'best_acc_epoch_3.pth'}
    )
    for name, found in left[True].items():
        assert found.keys() == left[False][name].keys()
        assert found['meta']['epoch'] == left[False][name]['meta']['epoch']
        keep = [
            c['message_hub']['runtime_info'].get('keep_ckpt_ids')
            for c in (found, left[False][name])
        ]
        assert keep[0] == keep[1]


def test_what_is_written_again_under_its_old_name_stays(tmp_path):
    """The same best twice, as when validation runs again where it has run."""
    runner = train(tmp_path / 'run')
    (hook,) = (h for h in runner.hooks if isinstance(h, CheckpointHook))
    best = hook.best_ckpt_path
    for _ in range(2):
        runner.call_hook('after_val_epoch', metrics=dict(acc=100 + Better.times))
    assert hook.best_ckpt_path == best
    assert os.path.exists(best)


_DOORS = dict(
    peft=dict(
        more=dict(
            custom_hooks=[dict(type='PEFTInjectHook')],
            cfg=Config(
                dict(
                    OPTIMIZER,
                    peft=dict(
                        method=dict(type='LoRA', r=1),
                        targets=['layer'],
                        head='freeze',
                        allow_random_base=True,
                    ),
                )
            ),
        )
    ),
    memory=dict(
        more=dict(
            custom_hooks=[dict(type='MemoryHook')],
            cfg=Config(dict(memory=dict(checkpoint=['layer']))),
        )
    ),
    strategy=dict(
        kind=FlexibleRunner, more=dict(strategy=dict(type='mmadapt.SingleDeviceStrategy'))
    ),
)


@pytest.mark.parametrize('door', _DOORS)
def test_whatever_of_mmadapt_a_run_uses_its_checkpoints_are_safe(door, tmp_path):
    register_backend('local', LocalBackend, force=True, prefixes='')
    runner = train(tmp_path / door, secure=False, **_DOORS[door])
    assert [type(hook).__name__ for hook in runner.hooks].count('RemoveAfterwardsHook') == 1
    assert type(get_file_backend('epoch_1.pth')) is AtomicLocalBackend
