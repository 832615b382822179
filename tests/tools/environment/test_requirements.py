"""The requirement files and the metadata."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools.environment import stamp
from tools.environment.extras import requirement_files

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


def imported():
    """Return what the package imports of others, by the name of the distribution."""
    found = set()
    for path in [*(ROOT / 'mmadapt').rglob('*.py'), ROOT / 'mmadapt_command.py']:
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition('.')[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(node.module.partition('.')[0])
    found -= {*sys.stdlib_module_names, 'mmadapt', 'mmadapt_command'}
    return {dict(PIL='pillow', yaml='pyyaml').get(name, name) for name in found}


def test_what_is_imported_is_required_and_what_is_required_is_imported():
    from packaging.requirements import Requirement

    required = {Requirement(line).name for line in lines_of('runtime')}
    extras = {Requirement(line).name for name in stamp.EXTRAS for line in lines_of(name)}
    # Each is bound to the machine, looked at when mmadapt is imported, or brought by one that is.
    there = {'torch', 'mmengine', 'mmcv', 'mmdet', 'pycocotools', 'cv2'}
    # DeepSpeed asks for both.
    with_deepspeed = {'ninja', 'pydantic'}
    assert imported() - there - extras - with_deepspeed <= required
    assert required <= imported()


def test_every_extra_is_offered_by_both_make_and_setup(checkout):
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
        assert requirement_files(extra, checkout / 'requirements'), extra
