"""The compiled mmcv: kept apart, kept whole, compiled for the right thing."""

import os
import shutil
import sys
import zipfile

import pytest

from tools.environment import console, mmcv_wheel
from tools.environment.console import SetupError


def test_without_a_compiler_a_kept_wheel_is_enough(programs):
    key = mmcv_wheel.wheel_key('2.1.0', '2.11.0+cu130', 'cpu')
    folder = mmcv_wheel.wheel_cache() / key
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / 'mmcv-2.1.0-x.whl', 'w') as archive:
        archive.writestr('mmcv/__init__.py', '')
    assert mmcv_wheel.is_cached('2.1.0', '2.11.0', 'cpu')
    assert not mmcv_wheel.is_cached('2.1.0', '2.12.0', 'cpu')
    assert not mmcv_wheel.is_cached('2.1.0', '2.11.0', 'cuda-9.0')


def test_the_wheel_is_kept_apart_by_all_it_depends_on(monkeypatch):
    key = mmcv_wheel.wheel_key('2.1.0', '2.11.0+cu130', 'cpu')
    assert (
        len(
            {
                key,
                mmcv_wheel.wheel_key('2.2.0', '2.11.0+cu130', 'cpu'),
                mmcv_wheel.wheel_key('2.1.0', '2.12.0+cu130', 'cpu'),
                mmcv_wheel.wheel_key('2.1.0', '2.11.0+cu126', 'cpu'),
                mmcv_wheel.wheel_key('2.1.0', '2.11.0+cu130', 'cuda-9.0'),
                mmcv_wheel.wheel_key('2.1.0', '2.11.0+cu130', 'cuda-8.0+9.0'),
            }
        )
        == 6
    )
    monkeypatch.setattr(sys, 'version_info', (3, 10, 13))
    other = mmcv_wheel.wheel_key('2.1.0', '2.11.0+cu130', 'cpu')
    monkeypatch.setattr(sys, 'version_info', (3, 12, 1))
    assert other != mmcv_wheel.wheel_key('2.1.0', '2.11.0+cu130', 'cpu')


def test_a_truncated_wheel_in_the_cache_is_not_used(tmp_path):
    path = tmp_path / 'mmcv-2.1.0-x.whl'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('mmcv/_ext.so', 'x' * 5000)
    assert mmcv_wheel.cached_wheel(tmp_path) == path
    path.write_bytes(path.read_bytes()[:-100])
    assert mmcv_wheel.cached_wheel(tmp_path) is None
    assert not path.exists()


FAKE_PIP = """
import pathlib, sys, tarfile, zipfile
state = pathlib.Path(sys.argv[1])
with (state / 'calls').open('a') as calls:
    calls.write(sys.argv[2] + '\\n')
if sys.argv[2] == 'download':
    to = pathlib.Path(sys.argv[sys.argv.index('--dest') + 1])
    (state / 'setup.py').touch()
    with tarfile.open(to / 'mmcv-2.1.0.tar.gz', 'w:gz') as archive:
        archive.add(state / 'setup.py', 'mmcv-2.1.0/setup.py')
else:
    to = pathlib.Path(sys.argv[sys.argv.index('--wheel-dir') + 1])
    source = pathlib.Path(sys.argv[-1])
    to.mkdir()
    (to / 'mmcv-2.1.0-x.whl').write_bytes(b'half a wheel')
    (source / 'objects').touch()
    if (state / 'fail').exists():
        sys.exit('c++: fatal error: Killed signal terminated program cc1plus')
    with zipfile.ZipFile(to / 'mmcv-2.1.0-x.whl', 'w') as archive:
        archive.write(source / 'objects', 'kept-objects')
"""


def test_a_failed_compilation_leaves_no_wheel_and_its_files_serve_the_next(tmp_path, capsys):
    (tmp_path / 'pip.py').write_text(FAKE_PIP)
    (tmp_path / 'fail').touch()
    pip = [sys.executable, str(tmp_path / 'pip.py'), str(tmp_path)]
    folder = tmp_path / 'cache' / 'key'

    def provide():
        env = {**os.environ, 'MAX_JOBS': '1'}
        shown = console.Console(1, tmp_path / 'logs')
        return mmcv_wheel.provide(shown, pip, 'mmcv==2.1.0', folder, lambda: env)

    with pytest.raises(SetupError, match='Killed[^$]*out of memory: run it again with MAX_J'):
        provide()
    assert not list(folder.glob('*.whl'))
    assert 'Killed signal' in (tmp_path / 'logs' / 'mmcv.log').read_text()

    (tmp_path / 'fail').unlink()
    wheel = provide()
    assert zipfile.ZipFile(wheel).namelist() == ['kept-objects']
    assert [path.name for path in folder.iterdir()] == [wheel.name]
    assert provide() == wheel
    assert (tmp_path / 'calls').read_text().split() == ['download', 'wheel', 'wheel']


def test_compiling_for_the_cpu_hides_the_cards_from_mmcv(tmp_path, programs):
    programs('c++', 'exit 0')
    env = mmcv_wheel.build_environment({'A': 'b'}, 'cpu', tmp_path, '13.0')
    assert (env['FORCE_CUDA'], env['CUDA_VISIBLE_DEVICES'], env['A']) == ('0', '', 'b')
    assert env['CFLAGS'] == env['CXXFLAGS'] == '-g0 -O2'
    assert env['MMCV_WITH_OPS'] == '1'


def test_compiling_for_cards_finds_toolkit_headers_and_architectures(
    tmp_path, programs, monkeypatch
):
    programs('c++', 'exit 0')
    home = tmp_path / 'toolkit'
    (home / 'bin').mkdir(parents=True)
    nvcc = programs('nvcc', 'echo "Cuda compilation tools, release 13.0, V13.0.48"')
    shutil.copy(nvcc, home / 'bin' / 'nvcc')
    monkeypatch.setenv('CUDA_HOME', str(home))
    headers = tmp_path / 'nvidia' / 'cu13' / 'include'
    headers.mkdir(parents=True)
    env = mmcv_wheel.build_environment({'CPATH': '/mine'}, 'cuda-8.0+9.0PTX', tmp_path, '13.0')
    assert (env['FORCE_CUDA'], env['CUDA_HOME']) == ('1', str(home))
    assert env['TORCH_CUDA_ARCH_LIST'] == '8.0;9.0+PTX'
    assert env['CPATH'] == f'{headers}{os.pathsep}/mine'
    with pytest.raises(SetupError, match='is 13.0 and torch was built with 12.6; install CUDA 12'):
        mmcv_wheel.build_environment({}, 'cuda-9.0', tmp_path, '12.6')
    with pytest.raises(SetupError, match='the installed torch has no CUDA'):
        mmcv_wheel.build_environment({}, 'cuda-9.0', tmp_path, None)


def test_ninjas_counter_becomes_progress_with_the_time_left():
    seconds = iter([100.0, 101.0, 110.0, 370.0])
    progress = mmcv_wheel.NinjaProgress(clock=lambda: next(seconds))
    assert progress('  building mmcv._ext extension\n') is None
    assert progress('  Emitting ninja build file /tmp/build.ninja...\n') is None
    assert progress('  [1/77] c++ -MMD -MF a.o.d\n') == 'compiling mmcv [1/77]'
    assert progress('  [5/77] c++ -MMD -MF e.o.d\n') == (
        'compiling mmcv [5/77], about 2 min 24 s left'
    )
    assert progress('  note: [12] is not a counter\n') is None
    assert progress('[77/77] c++ z\n') == 'compiling mmcv [77/77], linking'
