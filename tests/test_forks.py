"""The maintained forks of OpenMMLab's packages, in the place of the stock ones."""

import sys
from importlib import metadata
from pathlib import Path

import mmengine
import pytest
from installed import copy_train_test_and_merge, make_environment, typing_there, write_face_data

FORKS = Path(sys.prefix) / 'forks'


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """In an environment with the wheel and onedl-mmengine, where there is no stock MMEngine."""
    if not FORKS.is_dir():
        pytest.skip('the forks are not installed')
    folder, below = tmp_path_factory.mktemp('fork'), tmp_path_factory.mktemp('packages')
    for path in Path(mmengine.__file__).parents[1].iterdir():
        if not path.name.startswith(('mmengine', 'mmadapt')):
            (below / path.name).symlink_to(path)
    programs = make_environment(folder, [FORKS, below])
    return typing_there(programs, tmp_path_factory.mktemp('user'))


def test_it_is_installed_beside_the_fork_and_knows_its_version(run):
    """That nothing stock is fetched follows from the environment: nothing can be fetched there."""
    (fork,) = metadata.distributions(path=[str(FORKS)], name='onedl-mmengine')
    listed = run('python', '-m', 'pip', 'list')
    assert '\nmmengine ' not in listed
    assert f'\nmmengine {fork.version} (tested: ' in run('mmadapt', 'env')


def test_a_config_is_copied_trained_on_two_processes_tested_and_merged(run):
    write_face_data(run.cwd)
    copy_train_test_and_merge(run)
