"""What a tool has started ends with it, whatever ends it."""

import os
import signal
import subprocess
import sys
import time

import pytest

from mmadapt.cli.children import child
from mmadapt.cli.exit import raise_when_stopped, stop_behind

# As torch's launcher: its process has a session of its own, and is ended by it.
_LAUNCHER = """
trap 'kill $!; exit 1' TERM
setsid bash -c 'echo $$; exec sleep 300' &
echo $$
wait
"""


@pytest.fixture(autouse=True)
def handlers():
    """Take back what the process does at a signal."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_DFL) for number in numbers}
    raise_when_stopped()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def assert_ended(*pids):
    end = time.monotonic() + 20
    for pid in pids:
        while True:
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                break
            assert time.monotonic() < end, 'a process outlives the tool'
            time.sleep(0.05)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_a_command_and_what_that_has_started(number):
    pids = []

    def tool():
        with child(['bash', '-c', _LAUNCHER], text=True, stdout=subprocess.PIPE) as process:
            pids.extend(int(process.stdout.readline()) for _ in range(2))  # each is ready by then
            os.kill(os.getpid(), number)
            process.wait(100)

    with pytest.raises(KeyboardInterrupt) as stopped:
        tool()
    assert stop_behind(stopped.value).number == number
    assert len(pids) == 2
    assert_ended(*pids)


def test_a_command_that_ends_is_left_alone():
    with child([sys.executable, '-S', '-c', 'raise SystemExit(3)']) as process:
        assert process.wait(100) == 3


def test_a_forked_process_ends_as_any_other_does():
    """Data loaders and pools end their processes by SIGTERM."""
    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(tell, b'1')  # Python forgets a signal that comes while it is forking
        time.sleep(100)
        os._exit(0)
    os.read(ready, 1)
    os.kill(pid, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM


def test_what_is_ignored_stays_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    raise_when_stopped()
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
