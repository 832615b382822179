"""What counts as a complete environment."""

import json

import pytest

from tools.environment import stamp
from tools.environment.console import SetupError


@pytest.mark.parametrize('name', ['torch', 'build', 'core', 'mmcv', 'dev', 'constraints'])
def test_changing_a_pin_invalidates_the_environment(checkout, name, finished_venv):
    venv = finished_venv(checkout)
    path = checkout / 'requirements' / f'{name}.txt'
    path.write_text(f'# another comment\n{path.read_text()}')
    assert stamp.is_complete(venv, stamp.fingerprint(checkout, 'cpu', []))
    path.write_text(f'{path.read_text()}\nanother==1.0\n')
    assert not stamp.is_complete(venv, stamp.fingerprint(checkout, 'cpu', []))


def test_changing_the_package_metadata_invalidates_the_environment(checkout, finished_venv):
    venv = finished_venv(checkout)
    (checkout / 'setup.py').write_text('pass\n')
    assert not stamp.is_complete(venv, stamp.fingerprint(checkout, 'cpu', []))


def test_an_extra_is_missing_until_it_is_installed(checkout, finished_venv):
    venv = finished_venv(checkout, extras=['pose'])
    assert stamp.is_complete(venv, stamp.fingerprint(checkout, 'cpu', []))
    assert stamp.is_complete(venv, stamp.fingerprint(checkout, 'cpu', ['pose']))
    assert not stamp.is_complete(venv, stamp.fingerprint(checkout, 'cpu', ['pose', 'seg']))
    nodeps = checkout / 'requirements' / 'pose.nodeps.txt'
    nodeps.write_text('mmpose==1.3.1\n')
    assert not stamp.is_complete(venv, stamp.fingerprint(checkout, 'cpu', ['pose']))


@pytest.mark.parametrize(
    ('have', 'wanted', 'serves'),
    [
        ('cpu', 'cuda-9.0', False),
        ('cuda-8.0', 'cuda-9.0', False),
        ('cuda-8.0+9.0', 'cuda-9.0', True),
        ('cuda-9.0', 'cpu', True),
    ],
)
def test_a_card_mmcv_was_not_compiled_for_invalidates(
    checkout, finished_venv, have, wanted, serves
):
    venv = finished_venv(checkout, ops=have)
    assert stamp.is_complete(venv, stamp.fingerprint(checkout, wanted, [])) is serves


def test_a_moved_checkout_starts_again(checkout, tmp_path, finished_venv):
    finished_venv(checkout)
    moved = tmp_path / 'moved'
    checkout.rename(moved)
    wanted = stamp.fingerprint(moved, 'cpu', [])
    assert not stamp.is_complete(moved / '.venv', wanted)
    assert stamp.claim(moved / '.venv', wanted) is False
    assert not (moved / '.venv' / 'bin').exists()


def test_an_interrupted_run_leaves_nothing_that_counts_as_complete(checkout, finished_venv):
    venv = finished_venv(checkout)
    wanted = stamp.fingerprint(checkout, 'cpu', [])
    # A run takes the stamp off before it touches anything, and goes on with what is there.
    assert stamp.claim(venv, wanted) is True
    assert (venv / 'bin' / 'python').exists()
    assert not stamp.is_complete(venv, wanted)
    (venv / stamp.STAMP).write_text(json.dumps(wanted)[:40])
    assert not stamp.is_complete(venv, wanted)


def test_an_environment_without_its_python_is_not_complete(checkout, finished_venv):
    venv = finished_venv(checkout)
    (venv / 'bin' / 'python').unlink()
    (venv / 'bin' / 'python').symlink_to('/no/such/python')
    assert not stamp.is_complete(venv, stamp.fingerprint(checkout, 'cpu', []))


def test_somebody_elses_environment_is_not_touched(checkout):
    precious = checkout / '.venv' / 'precious'
    precious.mkdir(parents=True)
    with pytest.raises(SetupError, match='was not made by `make env`; move it away'):
        stamp.claim(checkout / '.venv', stamp.fingerprint(checkout, 'cpu', []))
    assert precious.exists()


def test_packages_that_pip_did_not_finish_are_forgotten(tmp_path):
    for name, files in {
        'torch-2.11.0': ['METADATA', 'RECORD'],
        'rich-15.0.0': ['METADATA', 'RECORD', 'INSTALLER'],
    }.items():
        (tmp_path / f'{name}.dist-info').mkdir()
        for file in files:
            (tmp_path / f'{name}.dist-info' / file).touch()
    (tmp_path / '~orch').mkdir()
    (tmp_path / 'rich').mkdir()
    assert stamp.drop_half_installed(tmp_path) == ['torch-2.11.0']
    assert sorted(path.name for path in tmp_path.iterdir()) == ['rich', 'rich-15.0.0.dist-info']
