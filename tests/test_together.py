"""Processes of tests: they meet wherever else something runs, and none outlives its test."""

import os
import socket
import sys
import time
from pathlib import Path

import pytest
from together import meeting, run_together


def _one_fails(rank, folder, returned):
    Path(folder, str(rank)).write_text(str(os.getpid()))
    while rank == 1 and not Path(folder, '0').exists():
        time.sleep(0.05)
    if rank == 1:
        sys.exit(3)
    time.sleep(300)


def test_a_process_that_fails_ends_the_others_and_the_test(tmp_path):
    began = time.monotonic()
    with pytest.raises(AssertionError, match=r'the processes ended with \[None, 3\]'):
        run_together(_one_fails, 2, str(tmp_path))
    assert time.monotonic() - began < 100
    for rank in range(2):
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / str(rank)).read_text()), 0)


def test_a_port_is_open_before_anyone_is_told_of_it():
    with meeting() as one, meeting() as other:
        ports = {int(place['MASTER_PORT']) for place in (one, other)}
        assert len(ports) == 2
        for port in ports:
            socket.create_connection(('127.0.0.1', port), timeout=10).close()


def _say(rank, returned):
    import tests

    returned.put((rank, tests.__file__))


def test_a_function_of_a_test_is_found_where_another_package_is_called_tests(tmp_path, monkeypatch):
    """MMSegmentation installs its `tests`, which comes before a folder without `__init__.py`."""
    (tmp_path / 'tests').mkdir()
    other = tmp_path / 'tests' / '__init__.py'
    other.touch()
    monkeypatch.setattr(sys, 'path', [*sys.path, str(tmp_path)])
    assert run_together(_say, 1, results=1) == [(0, str(other))]
