"""The two runs of the tests: the second makes what the first has skipped, and both are compared."""

import json
import subprocess
import sys
from pathlib import Path

import outcomes
import pytest

_CONFTEST = """
from outcomes import leave_out_what_has_run, pytest_addoption, pytest_terminal_summary

def pytest_collection_modifyitems(config, items):
    leave_out_what_has_run(config, items)
"""
_TESTS = """
import pytest
from outcomes import needs_gpu

def test_plain():
    pass

@pytest.mark.parametrize('way', ['a::b', 'c d'])
def test_of_an_extra(way):
    pytest.importorskip({package!r})

@pytest.mark.skipif(True, reason='needs a GPU')
def test_of_a_gpu():
    pass

@pytest.fixture
def broken():
    raise ValueError

def test_error(broken):
    pass
"""


@pytest.fixture
def run(tmp_path):
    """Run pytest, in two processes, where a package is there or not; return what it wrote."""
    (tmp_path / 'conftest.py').write_text(_CONFTEST)

    def _run(package, out, *options):
        (tmp_path / 'test_x.py').write_text(_TESTS.format(package=package))
        command = ['-m', 'pytest', '-q', '-n2', '-p', 'no:cacheprovider', f'--outcomes={out}']
        subprocess.run(
            [sys.executable, *command, *options],
            cwd=tmp_path,
            env=dict(PYTHONPATH=str(Path(outcomes.__file__).parent)),
            capture_output=True,
        )
        return json.loads((tmp_path / out).read_text())

    return _run


def test_what_was_skipped_runs_in_the_second_run_and_nothing_else(run):
    first = run('no_such_package', 'first.json')
    assert first['ran'] == ['test_x.py::test_error', 'test_x.py::test_plain']
    assert len(first['skipped']) == 3
    second = run('json', 'second.json', '--not-run-in=first.json')
    assert second['ran'] == [f'test_x.py::test_of_an_extra[{way}]' for way in ('a::b', 'c d')]
    assert second['skipped'] == {'test_x.py::test_of_a_gpu': outcomes.NEEDS_GPU}
    line, missing = outcomes.compare(first, second)
    assert line == (
        '4 tests ran, 2 without the extras and 2 beside them; 1 were skipped for want of a GPU'
    )
    assert missing == []


def test_what_neither_has_run_and_needs_no_gpu_is_named_with_its_reason(run):
    first = run('no_such_package', 'first.json')
    second = run('no_such_package', 'second.json', '--not-run-in=first.json')
    missing = outcomes.compare(first, second)[1]
    reason = "could not import 'no_such_package': No module named 'no_such_package'"
    assert missing == [f'test_x.py::test_of_an_extra[{way}]: {reason}' for way in ('a::b', 'c d')]
    # One that the second run has not even found.
    assert len(outcomes.compare(first, dict(ran=[], skipped={}))[1]) == 2


def test_a_file_that_the_first_run_skips_as_a_whole_is_made_up_for_by_its_tests():
    first = dict(ran=[], skipped={'tests/test_x.py': 'no globox', 'tests/test_y.py': 'no globox'})
    second = dict(ran=['tests/test_x.py::test_a[b]'], skipped={})
    assert outcomes.compare(first, second)[1] == ['tests/test_y.py: no globox']
