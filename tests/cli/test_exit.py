"""How a tool ends."""

import errno
import json
import signal
import warnings

import pytest
import torch

from mmadapt.cli import run_tool
from mmadapt.cli.exit import REPORTED_BY_LAUNCHER, Stopped
from mmadapt.errors import UserError


@pytest.fixture(autouse=True)
def plain_process(monkeypatch):
    for name in ('LOCAL_RANK', 'RANK', 'MMADAPT_COMMAND', REPORTED_BY_LAUNCHER):
        monkeypatch.delenv(name, raising=False)
    # A tool that is interrupted ignores the signal from then on; the test session must not.
    monkeypatch.setattr('signal.signal', lambda *_: None)
    monkeypatch.setattr('warnings.showwarning', warnings.showwarning)


def fail(error):
    def main():
        raise error

    with pytest.raises(SystemExit) as ended:
        run_tool(main)
    return ended.value.code


def test_a_user_error_is_one_line_and_exit_code_2(capsys):
    assert fail(UserError('rank is 0; write 8')) == 2
    assert capsys.readouterr().err == 'rank is 0; write 8\n'


def test_ctrl_c_is_one_line_and_exit_code_130(capsys):
    assert fail(KeyboardInterrupt('go on with: this')) == 130
    assert capsys.readouterr().err == 'go on with: this\n'


def test_ctrl_c_is_said_by_one_process_of_several(capsys, monkeypatch):
    monkeypatch.setenv('LOCAL_RANK', '1')
    assert fail(KeyboardInterrupt('go on with: this')) == 130
    assert capsys.readouterr().err == ''


def test_the_launcher_is_told_instead_of_the_terminal(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv(REPORTED_BY_LAUNCHER, '1')
    monkeypatch.setenv('TORCHELASTIC_ERROR_FILE', str(tmp_path / 'error.json'))
    assert fail(UserError('rank is 0; write 8')) == 2
    assert capsys.readouterr().err == ''
    told = json.loads((tmp_path / 'error.json').read_text())['message']['message']
    assert told == 'UserError: rank is 0; write 8'


def test_being_stopped_without_a_word_says_how_to_start_again(capsys, monkeypatch):
    monkeypatch.setenv('MMADAPT_COMMAND', './tools/dist_train.sh my\\ leaf.py 2 ')
    assert fail(Stopped(signal.SIGTERM)) == 143
    assert capsys.readouterr().err == (
        "Stopped by SIGTERM. To start again: ./tools/dist_train.sh 'my leaf.py' 2\n"
    )


def test_an_interrupt_that_a_library_makes_an_error_of_is_one_all_the_same(capsys):
    def main():
        try:
            raise KeyboardInterrupt
        except BaseException:  # as MMEngine's Config.pretty_text
            raise SyntaxError('Failed to format the config file') from None

    with pytest.raises(SystemExit) as ended:
        run_tool(main)
    assert ended.value.code == 130
    assert capsys.readouterr().err.startswith('Stopped by Ctrl-C. To start again: python ')


def test_the_launcher_is_told_what_the_first_process_says_of_being_stopped(
    capsys, monkeypatch, tmp_path
):
    monkeypatch.setenv(REPORTED_BY_LAUNCHER, str(tmp_path / 'said'))
    for rank in '1', '0':
        monkeypatch.setenv('LOCAL_RANK', rank)
        assert not (tmp_path / 'said').exists()
        assert fail(KeyboardInterrupt('go on with: this')) == 130
    assert (tmp_path / 'said').read_text() == 'go on with: this'
    assert capsys.readouterr().err == ''


def test_each_warning_of_a_library_is_shown_once(monkeypatch):
    shown = []
    monkeypatch.setattr('warnings.showwarning', lambda message, *_: shown.append(str(message)))

    def main():
        warnings.simplefilter('always')  # as libraries do
        for _ in range(3):
            warnings.warn_explicit('this is old', FutureWarning, 'library.py', 7)

    run_tool(main)
    assert shown == ['this is old']


def test_leaving_with_a_code_keeps_it(capsys):
    assert fail(SystemExit(7)) == 7


def test_any_other_error_keeps_its_traceback():
    def main():
        raise ValueError('ours')

    with pytest.raises(ValueError, match='ours'):
        run_tool(main)


def test_a_batch_of_one_object_is_one_line_with_what_mends_it(capsys):
    """What RTMO ends with, whenever such a batch comes."""

    def main():
        torch.nn.BatchNorm1d(8).train()(torch.zeros(1, 8))

    with pytest.raises(SystemExit) as ended:
        run_tool(main)
    assert ended.value.code == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert 'got input size torch.Size([1, 8]): a norm of the model is given one value' in said
    assert said.endswith(
        'train_dataloader.drop_last=True where it is the last batch of an epoch that has few'
    )


def test_a_full_disk_is_one_line_in_every_tool(capsys, tmp_path):
    assert fail(OSError(errno.ENOSPC, 'No space left on device', str(tmp_path / 'log'))) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f'{tmp_path}/log cannot be written: No space left on device (')
    for other in (PermissionError(errno.EACCES, 'Permission denied'), OSError('unnamed')):

        def main(other=other):
            raise other

        with pytest.raises(OSError, match=str(other).replace('[', r'\[')):
            run_tool(main)
