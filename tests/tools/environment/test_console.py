"""What is shown of a step, and what is left of it."""

import os
import sys
import time
from pathlib import Path

import pytest

from tools.environment import console
from tools.environment.console import SetupError


def test_without_a_terminal_one_in_so_many_is_shown_and_all_is_logged(tmp_path, capsys):
    shown = console.Console(1, tmp_path)
    command = [sys.executable, '-c', 'for i in range(1, 26): print(i)']
    shown.run(command, 'count', dict(os.environ), lambda line: line.strip(), every=10)
    assert capsys.readouterr().out.split() == ['10', '20']
    assert (tmp_path / 'count.log').read_text().split()[-25:] == [str(i) for i in range(1, 26)]


def test_a_failing_step_shows_its_last_twenty_lines_the_log_and_a_remedy(tmp_path):
    shown = console.Console(1, tmp_path)
    code = 'for i in range(30): print("line", i)\nraise SystemExit("No space left on device")'
    with pytest.raises(SetupError) as error:
        shown.run([sys.executable, '-u', '-c', code], 'step', dict(os.environ))
    text = str(error.value)
    assert 'line 10\n' not in text
    assert 'line 11\n' in text
    assert str(tmp_path / 'step.log') in text
    assert 'free some disk space and run it again' in text


def test_leaving_a_step_ends_its_children(tmp_path):
    shown = console.Console(1, tmp_path)
    code = (
        'import subprocess, sys, time\n'
        'child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])\n'
        'print(child.pid, flush=True)\ntime.sleep(60)'
    )
    pids = []

    def interrupt(line):
        pids.append(int(line))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shown.run([sys.executable, '-c', code], 'step', dict(os.environ), interrupt)
    end = time.monotonic() + 10
    while is_running(pids[0]) and time.monotonic() < end:
        time.sleep(0.05)
    assert not is_running(pids[0])


def is_running(pid):
    try:
        state = Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != 'Z'
