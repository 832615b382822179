"""What `mmadapt train` does around a run: what it checks, what it says, and how it is stopped.

And what `mmadapt test` puts into a run, so that it is checked.
"""

import os
import signal
import warnings
from urllib.error import URLError

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, HOOKS, MODELS
from mmengine.runner import Runner
from torch import nn

from mmadapt import UserError
from mmadapt.cli import run_tool
from mmadapt.commands import test as test_command
from mmadapt.commands import train as tool
from mmadapt.files import atomic

CONFIG = """
default_scope = 'mmengine'
model = dict(type='started_toy')
train_dataloader = dict(
    dataset=dict(type='started_toy'), batch_size=2, num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False))
train_cfg = dict(by_epoch=True, max_epochs=3)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01))
default_hooks = dict(checkpoint=dict(type='CheckpointHook', interval=1))
visualizer = dict(type='Visualizer', vis_backends=[])
log_level = 'WARNING'
"""


@DATASETS.register_module('started_toy')
class Data:
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return dict(x=torch.ones(4))


@MODELS.register_module('started_toy')
class Model(BaseModel):
    def __init__(self, offline=False):
        super().__init__()
        if offline:
            raise URLError('no network')
        self.layer = nn.Linear(4, 1)

    def forward(self, x, mode='tensor'):
        return dict(loss=self.layer(torch.stack(x)).square().mean())


@HOOKS.register_module('stops_the_run')
class Stops(Hook):
    """Sends this process a signal in the fourth of six iterations."""

    def __init__(self, number, swallowed=False):
        self.number, self.swallowed = number, swallowed

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter != 3:
            return
        try:
            os.kill(os.getpid(), self.number)
        except BaseException:
            if self.swallowed:
                raise RuntimeError('a library could not do something') from None
            raise


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Start the tool with a config of a small model; what the process does at signals is kept."""
    monkeypatch.delenv('MMADAPT_COMMAND', raising=False)
    monkeypatch.setattr('warnings.showwarning', warnings.showwarning)
    before = {
        number: signal.getsignal(number)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }

    def _train(extra='', *arguments):
        path = tmp_path / 'leaf.py'
        path.write_text(CONFIG + f'experiment_name = {str(tmp_path)!r}\n{extra}')
        words = [str(path), '--work-dir', str(tmp_path / 'run'), *arguments]
        monkeypatch.setattr('sys.argv', ['mmadapt', 'train', *words])
        tool.main(words)

    yield _train
    MessageHub._instance_dict.clear()
    for number, handler in before.items():
        signal.signal(number, handler)


def stopped_by(number, train, extra, capsys):
    with pytest.raises(SystemExit) as ended:
        run_tool(lambda: train(extra))
    assert ended.value.code == 128 + number
    (said,) = capsys.readouterr().err.splitlines()
    return said


@pytest.mark.parametrize('swallowed', [False, True])
@pytest.mark.parametrize(
    ('number', 'name'), [(signal.SIGINT, 'Ctrl-C'), (signal.SIGTERM, 'SIGTERM')]
)
def test_a_run_that_is_stopped_says_where_it_was_and_how_it_goes_on(
    number, name, swallowed, train, tmp_path, capsys
):
    hook = f"custom_hooks = [dict(type='stops_the_run', number={number:d}, swallowed={swallowed})]"
    assert stopped_by(number, train, hook, capsys) == (
        f'Stopped by {name} at iteration 3. Last checkpoint: {tmp_path}/run/epoch_1.pth. To go on: '
        f'mmadapt train {tmp_path}/leaf.py --work-dir {tmp_path}/run --resume'
    )


def test_ctrl_c_while_a_checkpoint_is_written_is_the_same_sentence(
    train, tmp_path, capsys, monkeypatch
):
    flush = atomic._flush

    def interrupted(path):
        if '.epoch_2.pth.' in str(path):
            os.kill(os.getpid(), signal.SIGINT)
        flush(path)

    monkeypatch.setattr(atomic, '_flush', interrupted)
    said = stopped_by(signal.SIGINT, train, '', capsys)
    assert said.startswith(
        f'Stopped by Ctrl-C at iteration 4. Last checkpoint: {tmp_path}/run/epoch_1.pth. To go on: '
    )
    assert sorted(path.name for path in (tmp_path / 'run').glob('*.pth')) == ['epoch_1.pth']
    assert not [*(tmp_path / 'run').glob('.*')], 'a part of a checkpoint is left'


def test_a_schedule_that_does_not_fit_is_said_of_a_config_without_our_hooks(train, monkeypatch):
    said = []
    monkeypatch.setattr('mmadapt.hooks.run_check_hook.warn', said.append)
    train("param_scheduler = dict(type='LinearLR', by_epoch=False, end=100)")
    assert any('warms up until iteration 100 of a run of 6' in line for line in said)


def test_a_low_precision_without_islands_is_said(train, monkeypatch):
    said = []
    monkeypatch.setattr(tool, 'warn', said.append)
    train("optim_wrapper.update(type='AutocastOptimWrapper', dtype='bfloat16')")
    assert "memory = dict(fp32_modules='auto') keeps float32" in said[0]


@pytest.mark.parametrize(
    ('extra', 'message'),
    [
        ("default_hooks['checkpoint']['save_best'] = 'own/quality'", "write rule='greater'"),
        (
            "model['offline'] = True",
            'downloads something when it is built, and cannot: .*no network',
        ),
    ],
)
def test_what_the_tool_refuses_is_one_line(extra, message, train):
    with pytest.raises(UserError, match=message):
        train(extra)


def test_a_test_is_checked_without_hooks_in_the_config(train, tmp_path, monkeypatch):
    testing = """
test_dataloader = dict(train_dataloader)
test_cfg = dict()
test_evaluator = dict(type='DumpResults', out_file_path='out.pkl')
"""
    started = []
    monkeypatch.setattr(Runner, 'test', lambda runner: started.append(runner))
    monkeypatch.setattr(tool, 'main', test_command.main)
    torch.save(dict(state_dict=Model().state_dict()), tmp_path / 'base.pth')
    train(testing, str(tmp_path / 'base.pth'))
    assert {'RunCheckHook', 'LoadedCheckpointHook'} <= {
        type(hook).__name__ for hook in started[0].hooks
    }
