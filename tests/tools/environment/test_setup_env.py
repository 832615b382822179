"""What a person sees who types `make env`."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def set_up(root, *arguments):
    command = [sys.executable, str(root / 'tools' / 'setup_env.py'), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_without_a_compiler_it_ends_in_one_line_and_installs_nothing(checkout, programs):
    done = set_up(checkout)
    assert done.returncode == 1
    assert done.stdout == ''
    (line,) = done.stderr.splitlines()
    assert 'no C++ compiler' in line
    assert 'apt-get install g++' in line
    assert not (checkout / '.venv').exists()


def test_an_unsupported_python_is_told_which_are_supported():
    code = (
        'import runpy, sys; sys.version_info = (3, 9, 1); '
        f'runpy.run_path({str(ROOT / "tools" / "setup_env.py")!r}, run_name="__main__")'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert 'Python 3.9' in line
    assert '3.10, 3.11 or 3.12 is needed' in line
    assert 'make env PYTHON=' in line


def test_make_says_it_when_no_python_on_the_path_will_do(checkout, programs):
    make = shutil.which('make', path=os.defpath + ':/usr/bin:/usr/local/bin')
    if make is None:
        pytest.skip('make is not installed')
    # Like the shim of a version manager: it is there, but does not run.
    programs('python3', 'echo "python3: command not found" >&2; exit 127')
    done = subprocess.run([make, 'env'], cwd=checkout, capture_output=True, text=True)
    assert done.returncode != 0
    assert 'no Python 3.10, 3.11 or 3.12 on the PATH' in done.stderr.splitlines()[0]


def test_make_takes_the_python_that_runs_and_passes_the_extras_on(checkout, programs):
    make = shutil.which('make', path=os.defpath + ':/usr/bin:/usr/local/bin')
    if make is None:
        pytest.skip('make is not installed')
    programs('python3', 'exit 1')
    programs('python3.12', f'[ "$1" = -c ] && exec {sys.executable} "$@"; echo "ran: $*"')
    # `make test` passes its own flags on; one of them announces every folder.
    own = {name: value for name, value in os.environ.items() if not name.startswith('MAKE')}
    done = subprocess.run(
        [make, 'env', 'EXTRAS=pose,seg'], cwd=checkout, env=own, capture_output=True, text=True
    )
    assert done.stdout.strip() == 'ran: tools/setup_env.py pose,seg', done.stderr


def test_an_unknown_extra_lists_those_there_are(checkout):
    done = set_up(checkout, 'pose,poses')
    assert done.returncode == 1
    assert 'no extra poses; there are: pose, seg' in done.stderr


def test_a_complete_environment_is_recognized_at_once(checkout, finished_venv):
    finished_venv(checkout)
    start = time.monotonic()
    done = set_up(checkout)
    assert time.monotonic() - start < 2
    assert (done.returncode, done.stderr) == (0, '')
    assert 'nothing to do' in done.stdout
