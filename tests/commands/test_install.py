"""`mmadapt install`: an optional package with what it needs, and nothing that is there is moved."""

import importlib.util
import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest
from installed import make_environment, typing_there

from mmadapt.commands import install
from mmadapt.errors import UserError
from mmadapt.extras import EXTRAS, REQUIREMENTS, pip_arguments, requirement_files


@pytest.fixture
def pip(monkeypatch):
    """Every call of pip, recorded, with the constraints that it was given; it does nothing."""
    calls = []

    def run(words, name):
        pins = [Path(words[i + 1]).read_text() for i, word in enumerate(words) if word == '-c']
        calls.append((words, ''.join(pins).split()))

    monkeypatch.setattr(install, 'run_pip', run)
    return calls


def test_every_extra_is_offered_and_has_its_files():
    named = {path.name.partition('.')[0] for path in REQUIREMENTS.glob('*.txt')}
    own = {'build', 'constraints', 'core', 'dev', 'docs', 'forks', 'mmcv', 'runtime', 'torch'}
    assert named - own == set(EXTRAS)


def test_no_extra_brings_a_second_opencv():
    for extra in EXTRAS:
        for file in requirement_files(extra):
            # Over opencv-python: the same files, and whichever came last is imported.
            assert 'opencv' not in [
                line.partition('-')[0] for line in file.read_text().splitlines()
            ], file


def test_pose_is_installed_without_what_it_asks_for_and_xtcocotools_from_source():
    plain, nodeps, source = pip_arguments('pose', [Path('pins.txt')])
    assert plain[:3] == ['--no-build-isolation', '-c', 'pins.txt']
    assert nodeps[0] == '--no-deps'
    assert 'albumentations==1.' in Path(nodeps[-1]).read_text()
    assert '--no-binary=:all:' in source
    assert '--no-cache-dir' in source
    assert 'xtcocotools==' in Path(source[-1]).read_text()


def test_what_is_installed_is_not_moved(pip, monkeypatch):
    monkeypatch.setattr(install, 'try_import', lambda modules: ('', ''))
    install.install('seg')
    ((words, pins),) = pip
    assert str(REQUIREMENTS / 'seg.txt') in words
    versions = dict(pin.split('==') for pin in pins)
    for name in ('torch', 'numpy', 'mmcv'):
        assert versions[name] == metadata.version(name)


@pytest.fixture
def fork(tmp_path, monkeypatch):
    """An environment in which a maintained fork has brought MMEngine."""
    folder = tmp_path / 'onedl_mmengine-0.10.12.dist-info'
    folder.mkdir()
    (folder / 'METADATA').write_text(
        'Metadata-Version: 2.1\nName: onedl-mmengine\nVersion: 0.10.12\n'
    )
    (folder / 'top_level.txt').write_text('mmengine\n')
    monkeypatch.setattr(sys, 'path', [str(tmp_path)])


@pytest.mark.usefixtures('fork')
def test_a_fork_is_kept_under_its_own_name_and_nothing_is_written_over_it(pip, monkeypatch):
    """No stock MMEngine has the fork's version, and pip takes the two for two packages."""
    monkeypatch.setattr(install, 'try_import', lambda modules: ('', ''))
    install.install('seg')
    ((_, pins),) = pip
    assert pins == ['onedl-mmengine==0.10.12', 'mmengine<0']


@pytest.mark.usefixtures('fork')
def test_what_a_fork_has_brought_is_not_asked_for(pip):
    with pytest.raises(
        UserError,
        match="openmmlab asks for mmengine, which onedl-mmengine has .*: pip install 'mmdet>=3",
    ):
        install.refuse_over_forks('openmmlab')
    install.refuse_over_forks('seg')
    assert pip == []


def test_pip_takes_the_line_that_keeps_a_stock_package_away(tmp_path):
    """Of a package that asks for it too, as what an extra asks for may."""
    (tmp_path / 'constraints.txt').write_text('mmengine<0\n')
    command = [sys.executable, '-m', 'pip', 'install', '--dry-run', '--no-index', '--no-deps']
    done = subprocess.run(
        [*command, '-c', tmp_path / 'constraints.txt', 'mmengine'], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert 'The user requested (constraint) mmengine<0' in done.stdout


def test_a_file_in_the_current_folder_is_not_taken_for_what_was_installed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ('globox_of_mine', 'warnings'):
        (tmp_path / f'{name}.py').write_text('raise SystemExit("not this one")')
    wrong, _ = install.try_import(('globox_of_mine',))
    assert wrong.startswith(
        "import globox_of_mine: ModuleNotFoundError: No module named 'globox_of"
    )


def test_a_wheel_made_for_another_numpy_is_built_again(pip, monkeypatch):
    answers = iter([('import xtcocotools: numpy.dtype size changed', ''), ('', 'mmpose 1.3.2')])
    monkeypatch.setattr(install, 'try_import', lambda modules: next(answers))
    install.install('pose')
    assert [words[0] for words, _ in pip][-1] == '--force-reinstall'
    assert pip[-1][0][1:] == pip[-2][0]


def test_what_cannot_be_imported_afterwards_is_said(pip, monkeypatch):
    wrong = replace(EXTRAS['seg'], modules=('json', 'no_such_module'))
    monkeypatch.setitem(EXTRAS, 'seg', wrong)
    with pytest.raises(UserError, match='seg is installed, but import no_such_module: ModuleNot'):
        install.install('seg')


def test_a_failure_of_pip_ends_it_in_one_line(monkeypatch, capfd):
    monkeypatch.setattr(
        install, 'pip_arguments', lambda *_: [['--no-index', 'no-such-package-anywhere']]
    )
    with pytest.raises(UserError, match='seg is not installed: pip ended with 1, see above'):
        install.install('seg')
    printed = capfd.readouterr()
    assert '$ pip install --no-index no-such-package-anywhere' in printed.out
    assert 'No matching distribution' in printed.err


def test_names_are_checked_before_anything_is_installed(pip):
    with pytest.raises(UserError, match=r"no extra 'pos' \(nearest: 'pose'\)"):
        install.main(['seg', 'pos'])
    assert pip == []


def test_an_environment_without_pip_is_told_how_to_get_it(pip, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, 'find_spec', lambda name: None if name == 'pip' else found(name)
    )
    with pytest.raises(UserError, match='has no pip: .*ensurepip.*uv pip install pip'):
        install.main(['seg'])


def test_without_a_name_it_says_what_there_is(pip, capsys):
    assert install.main([]) == 0
    printed = capsys.readouterr().out
    assert [line.split()[0] for line in printed.splitlines()] == list(EXTRAS)
    assert 'mmdet 3' in printed
    assert install.main(['pose', '--dry-run']) == 0
    assert capsys.readouterr().out.count('pip install') == 3
    assert pip == []


def test_a_user_installs_pose_by_one_command(tmp_path):
    """From the wheel, in an environment that has OpenMMLab and no MMPose; a package index is asked.

    What is already in the environment that runs the tests is not looked into, so that its MMPose
    does not count.
    """
    packages = [
        path
        for path in sys.path
        if Path(path).name == 'site-packages' and not Path(path, 'mmpose').is_dir()
    ]
    (tmp_path / 'environment').mkdir()
    programs = make_environment(tmp_path / 'environment', packages)
    run = typing_there(programs, tmp_path)
    missing = run('python', '-c', 'import mmpose', code=1)
    assert "No module named 'mmpose'" in missing
    assert 'Albumentations below 2: not installed' in run('mmadapt', 'install')
    lines = run('mmadapt', 'install', 'pose').splitlines()
    (last,) = [line for line in lines if line.startswith('pose: ')]
    assert 'mmpose 1.' in last
    assert 'albumentations 1.' in last
    # As a stock RTMPose config's pipeline asks for it, and the metric.
    run(
        'python',
        '-c',
        'from mmpose.datasets.transforms import Albumentation; from mmpose.evaluation import '
        'CocoMetric; Albumentation([dict(type="Blur", p=0.1), dict(type="CoarseDropout", '
        'max_holes=1, max_height=0.4, max_width=0.4, min_holes=1, min_height=0.2, '
        'min_width=0.2, p=1.0)])',
    )
    there = subprocess.run(
        [programs / 'python', '-m', 'pip', 'list', '--format=freeze'],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert 'opencv-python-headless' not in there
