"""How a tool ends."""

import json

import pytest

from mmadapt.cli import run_tool
from mmadapt.cli.exit import REPORTED_BY_LAUNCHER
from mmadapt.errors import UserError


@pytest.fixture(autouse=True)
def plain_process(monkeypatch):
    for name in ('LOCAL_RANK', 'RANK', REPORTED_BY_LAUNCHER):
        monkeypatch.delenv(name, raising=False)
    # A tool that is interrupted ignores the signal from then on; the test session must not.
    monkeypatch.setattr('signal.signal', lambda *_: None)


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


def test_any_other_error_keeps_its_traceback():
    def main():
        raise ValueError('ours')
    with pytest.raises(ValueError, match='ours'):
        run_tool(main)
