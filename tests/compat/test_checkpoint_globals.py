"""MMEngine's own checkpoints load with the safety of `torch.load` on, and nothing else does."""

import io
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

import mmadapt  # noqa: F401  allows the globals


class Toy(BaseModel):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 1)

    def forward(self, inputs, mode):
        return dict(loss=self.fc(inputs).square().mean())


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """A checkpoint that the stock Runner has written after two epochs."""
    folder = tmp_path_factory.mktemp('runner')
    runner = Runner(
        model=Toy(),
        work_dir=str(folder),
        experiment_name='checkpoint_globals',
        train_dataloader=dict(
            dataset=[torch.ones(2) for _ in range(4)],
            batch_size=2,
            sampler=dict(type='DefaultSampler', shuffle=True),
            collate_fn=lambda items: dict(inputs=torch.stack(items)),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=2),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.1)),
        param_scheduler=dict(type='CosineAnnealingLR', T_max=2),
        default_hooks=dict(logger=dict(type='LoggerHook', interval=1)),
        log_level='ERROR',
    )
    runner.train()
    return folder / 'epoch_2.pth'


def test_a_checkpoint_of_the_stock_runner_loads_with_the_safety_on(checkpoint):
    loaded = torch.load(checkpoint, weights_only=True)
    loss = loaded['message_hub']['log_scalars']['train/loss']
    assert isinstance(loss, HistoryBuffer)
    assert len(loss.data[0]) == 4
    assert loss.mean() == np.mean(loss.data[0])
    assert loss.statistics('min') == loss.min()
    assert loaded['meta']['epoch'] == 2
    hub = MessageHub('resumed')
    hub.load_state_dict(loaded['message_hub'])
    assert hub.get_scalar('train/loss').current() == loss.current()


def test_without_the_repair_it_does_not_load(checkpoint):
    """Otherwise the repair is no longer needed."""
    allowed = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        with pytest.raises(pickle.UnpicklingError, match='Weights only load failed'):
            torch.load(checkpoint, weights_only=True)
    finally:
        torch.serialization.add_safe_globals(allowed)
    torch.load(checkpoint, weights_only=True)


def test_names_of_both_numpy_generations_are_taken(tmp_path):
    stream = io.BytesIO()
    torch.save(dict(scalar=np.float64(2.5), array=np.arange(3)), stream)
    old, new = b'numpy.core.multiarray', b'numpy._core.multiarray'
    for wanted, other in ((old, new), (new, old)):
        path = tmp_path / f'{wanted.decode()}.pth'
        with zipfile.ZipFile(stream) as source, zipfile.ZipFile(path, 'w') as target:
            for name in source.namelist():
                data = source.read(name)
                target.writestr(
                    name, renamed(data, other, wanted) if name.endswith('.pkl') else data
                )
        loaded = torch.load(path, weights_only=True)
        assert loaded['scalar'] == 2.5
        assert loaded['array'].tolist() == [0, 1, 2]


def renamed(data, other, wanted):
    data = data.replace(b'c' + other + b'\n', b'c' + wanted + b'\n')
    assert b'c' + wanted + b'\nscalar\n' in data
    return data


class Call:
    """Pickles as a call of any function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


EVIL = {
    'os.system': lambda mark: Call(os.system, f'touch {mark}'),
    'eval': lambda mark: Call(eval, f'open({str(mark)!r}, "w")'),
    'exec': lambda mark: Call(exec, f'open({str(mark)!r}, "w")'),
    'open': lambda mark: Call(open, str(mark), 'w'),
    'numpy.save': lambda mark: Call(np.save, str(mark), [1]),
    'getattr of a module': lambda mark: Call(getattr, HistoryBuffer, '__module__'),
    'getattr of a class that is allowed': lambda mark: Call(getattr, np.ndarray, 'tofile'),
    'getattr of __init__': lambda mark: Call(getattr, HistoryBuffer, '__init__'),
    'getattr of __class__': lambda mark: Call(getattr, HistoryBuffer, '__class__'),
    'getattr of register_statistics': lambda mark: Call(
        getattr, HistoryBuffer, 'register_statistics'
    ),
    'getattr of an instance': lambda mark: Call(getattr, HistoryBuffer(), 'mean'),
    'getattr of a tensor': lambda mark: Call(getattr, torch.zeros(1), 'numpy'),
}


@pytest.mark.parametrize('payload', EVIL)
@pytest.mark.parametrize('zipped', [True, False])
def test_a_checkpoint_that_would_run_something_is_refused_and_nothing_runs(
    tmp_path, payload, zipped
):
    mark, path = tmp_path / 'ran', tmp_path / 'evil.pth'
    torch.save(dict(state_dict=EVIL[payload](mark)), path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    assert os.listdir(tmp_path) == ['evil.pth']


def test_the_four_statistics_are_all_that_getattr_finds(tmp_path):
    methods = {}
    for name in ('mean', 'max', 'min', 'current'):
        torch.save(Call(getattr, HistoryBuffer, name), tmp_path / 'x.pth')
        methods[name] = torch.load(tmp_path / 'x.pth', weights_only=True)
    assert methods == {name: getattr(HistoryBuffer, name) for name in methods}


def test_an_empty_array_is_read_as_in_the_metainfo_of_a_pose_without_lines(tmp_path):
    array, path = np.empty((0, 3), dtype=np.uint8), tmp_path / 'empty.pth'
    torch.save(dict(meta=dict(dataset_meta=dict(skeleton_link_colors=array))), path)
    loaded = torch.load(path, weights_only=True)['meta']['dataset_meta']['skeleton_link_colors']
    assert loaded.shape == (0, 3)
    assert loaded.dtype == np.uint8


def test_no_more_than_the_empty_bytes_are_made_for_a_file(tmp_path):
    class Large:
        def __reduce__(self):
            return bytes, (1 << 40,)

    torch.save(Large(), tmp_path / 'large.pth')
    with pytest.raises(TypeError, match='0 positional arguments'):
        torch.load(tmp_path / 'large.pth', weights_only=True)
