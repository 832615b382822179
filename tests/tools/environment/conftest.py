"""Fixtures for the tests of `make env`."""

import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch, tmp_path):
    for name in ('CXX', 'MAX_JOBS', 'MMADAPT_OPS', 'TORCH_CUDA_ARCH_LIST', 'CUDA_HOME', 'CPATH'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('MMADAPT_CACHE', str(tmp_path / 'cache'))


@pytest.fixture
def checkout(tmp_path):
    """A copy of what `make env` reads, in a folder of its own."""
    root = tmp_path / 'checkout'
    for name in ('tools', 'mmadapt/requirements'):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns('__pycache__'))
    (root / 'requirements').symlink_to('mmadapt/requirements')
    for name in ('Makefile', 'setup.py', 'mmadapt/extras.py'):
        shutil.copy(ROOT / name, root / name)
    return root


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A PATH that has nothing but the shell scripts put there."""
    folder = tmp_path / 'programs'
    folder.mkdir()
    monkeypatch.setenv('PATH', str(folder))

    def add(name, script):
        path = folder / name
        path.write_text(f'#!/bin/sh\n{script}\n')
        path.chmod(0o755)
        return path

    return add


@pytest.fixture
def finished_venv():
    """Makes what a run that went through leaves, as far as it is looked at."""
    from tools.environment import stamp

    def make(root, ops='cpu', extras=(), name='.venv'):
        venv = root / name
        wanted = stamp.fingerprint(root, ops, list(extras))
        stamp.claim(venv, wanted)
        (venv / 'bin').mkdir()
        (venv / 'bin' / 'python').symlink_to(sys.executable)
        stamp.write_stamp(venv, wanted)
        return venv

    return make
