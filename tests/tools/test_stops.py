"""Ctrl-C while Python still imports what a tool needs, and SIGTERM to one that has started others.

What takes long to import is replaced by a module that says when it is being imported, and makes
another error of an interrupt, as libraries do that try an import.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import pytest

from mmadapt.cli.exit import Stopped, raise_when_stopped
from mmadapt.measuring import rows

TOOLS = Path(__file__).parents[2] / 'tools'
SLOW = """
import os, pathlib, time
with pathlib.Path(os.environ['BEGUN']).open('a') as file:
    file.write(f'{os.getpid()}\\n')
try:
    time.sleep(100)
except BaseException:
    raise ImportError('something is not installed') from None
"""


def wait_until(condition, why):
    end = time.monotonic() + 100
    while not condition():
        assert time.monotonic() < end, why
        time.sleep(0.02)


def is_there(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def interrupt(tmp_path):
    """Start a command that imports a module slowly, interrupt it, and return what comes of it.

    Ctrl-C reaches all of its processes, another signal the first one.
    """

    def _interrupt(slow, *command, number=signal.SIGINT, processes=1):
        module = tmp_path / 'slow' / slow / '__init__.py'
        module.parent.mkdir(parents=True)
        module.write_text(SLOW)
        begun = tmp_path / 'begun'
        env = dict(
            os.environ,
            PYTHONPATH=f'{module.parents[1]}:{TOOLS.parent}',
            NO_COLOR='1',
            VIRTUAL_ENV=sys.prefix,
            BEGUN=str(begun),
            TMPDIR=str(tmp_path),
            PATH=f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
        )
        process = subprocess.Popen(
            command,
            env=env,
            cwd=tmp_path,
            text=True,
            stderr=subprocess.PIPE,
            start_new_session=True,
            # What runs the tests in the background may have had it ignored, which is inherited.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        try:
            wait_until(
                lambda: begun.exists() and len(begun.read_text().split()) == processes,
                'it never began',
            )
            (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
            # torch's launcher kills after 30 seconds what does not end when it is asked to.
            said = process.communicate(timeout=25)[1]
            for pid in map(int, begun.read_text().split()):
                wait_until(lambda pid=pid: not is_there(pid), 'a process outlives the first')
        finally:
            process.kill()
        assert not [*tmp_path.glob('mmadapt_*')], 'a temporary file is left'
        return process.returncode, said.splitlines()

    return _interrupt


@pytest.mark.parametrize(
    'tool', ['train', 'test', 'merge_adapter', 'inspect_targets', 'memory_table', 'benchmark']
)
def test_ctrl_c_while_a_tool_imports_is_one_sentence(tool, interrupt):
    code, lines = interrupt('torch', sys.executable, TOOLS / f'{tool}.py', 'my leaf.py')
    assert (code, lines) == (
        130,
        [f"Stopped by Ctrl-C. To start again: python {TOOLS}/{tool}.py 'my leaf.py'"],
    )


def test_ctrl_c_while_the_demo_imports_is_one_sentence(interrupt):
    code, lines = interrupt('torch', sys.executable, TOOLS.parent / 'projects/face_demo/run.py')
    assert code == 130
    assert len(lines) == 1


@pytest.mark.parametrize('slow', ['torch', 'mmdet'])
def test_ctrl_c_while_the_launcher_or_its_processes_import_is_one_sentence(slow, interrupt):
    code, lines = interrupt(
        slow, TOOLS / 'dist_train.sh', 'leaf.py', '2', processes=1 + (slow == 'mmdet')
    )
    assert code == 130
    assert len(lines) == 1
    assert lines[0].startswith(
        f'Stopped by Ctrl-C. To start again: {TOOLS}/dist_train.sh leaf.py 2'
    )


def test_a_launcher_that_is_ended_ends_its_processes_and_says_it_in_one_sentence(interrupt):
    code, lines = interrupt(
        'mmdet', TOOLS / 'dist_train.sh', 'leaf.py', '2', processes=2, number=signal.SIGTERM
    )
    assert code == 143
    assert len(lines) == 1
    assert lines[0].startswith(
        f'Stopped by SIGTERM. To start again: {TOOLS}/dist_train.sh leaf.py 2'
    )


def test_a_table_that_is_ended_ends_the_row_that_runs(tmp_path, monkeypatch):
    row = tmp_path / 'row.py'
    row.write_text(
        'import os, pathlib, sys, time\n'
        'pathlib.Path(sys.argv[-1]).with_name("pid").write_text(str(os.getpid()))\n'
        f'os.kill({os.getpid()}, {int(signal.SIGTERM)})\ntime.sleep(100)\n'
    )
    monkeypatch.setattr(rows, '_ROW', [str(row)])
    monkeypatch.setattr(rows, 'row_for', lambda *args: {})
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    began = time.monotonic()
    try:
        raise_when_stopped()
        with pytest.raises(Stopped):
            rows.run_rows(
                [mock.Mock()],
                mock.Mock(processes=1, threads=1, device='cpu'),
                None,
                tmp_path / 'logs',
                print,
            )
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert time.monotonic() - began < 60, 'it has waited for the row'
    pid = int((tmp_path / 'logs' / '01' / 'pid').read_text())
    assert not is_there(pid)
