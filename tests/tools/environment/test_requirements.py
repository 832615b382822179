"""The requirement files and the metadata."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools.environment import stamp

ROOT = Path(__file__).resolve().parents[3]


def lines_of(name):
    text = (ROOT / 'requirements' / f'{name}.txt').read_text()
    return [line for line in (line.split('#')[0].strip() for line in text.splitlines()) if line]


@pytest.mark.parametrize('name', ['torch', 'build', 'mmcv', 'core', 'constraints'])
def test_the_matrix_is_pinned_to_the_last_package(name):
    loose = [line for line in lines_of(name) if '==' not in line]
    assert loose == []


def test_installing_into_an_existing_environment_moves_neither_torch_nor_mmcv():
    from packaging.requirements import Requirement

    for name in ('runtime', *stamp.EXTRAS):
        names = {Requirement(line).name for line in lines_of(name)}
        assert names.isdisjoint({'torch', 'torchvision', 'mmcv', 'mmcv-full', 'mmcv-lite'}), name


def test_every_extra_is_offered_by_both_make_and_setup(checkout):
    (checkout / 'mmadapt').mkdir()
    (checkout / 'mmadapt' / 'version.py').write_text("__version__ = '1.2.3'\n")
    command = [sys.executable, 'setup.py', '-q', 'egg_info']
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    info = checkout / 'mmadapt.egg-info'
    assert 'Version: 1.2.3' in (info / 'PKG-INFO').read_text()
    sections = re.findall(r'^\[(\w+)\]$', (info / 'requires.txt').read_text(), re.M)
    # What `make env` installs anyway.
    assert sorted(sections) == sorted([*stamp.EXTRAS, 'openmmlab'])
    for extra in stamp.EXTRAS:
        assert stamp.extra_files(checkout, extra), extra
