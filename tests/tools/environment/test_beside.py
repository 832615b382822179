"""The environment of the extras: what is not in it is that of the first."""

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from tools.environment import build, stamp

ROOT = Path(__file__).resolve().parents[3]


def test_its_own_packages_come_first_and_editable_ones_of_the_other_are_followed(tmp_path):
    venv.create(tmp_path / 'own', symlinks=True)
    own = Path(sysconfig.get_path('purelib', vars=dict(base=tmp_path / 'own')))
    other, editable = tmp_path / 'other', tmp_path / 'editable'
    for folder in (other, editable):
        folder.mkdir()
    (other / 'editable.pth').write_text(str(editable))
    for folder in (own, other):
        (folder / 'both.py').write_text(f'where = {folder.name!r}')
    (other / 'below.py').touch()
    (editable / 'plugin.py').touch()
    build.look_into(other, own)
    code = 'import below, plugin, both; print(both.where)'
    done = subprocess.run(
        [tmp_path / 'own' / 'bin' / 'python', '-c', code], capture_output=True, text=True
    )
    assert done.stdout == 'site-packages\n', done.stderr


def test_the_first_is_left_without_extras_and_each_is_recognized(checkout, finished_venv):
    finished_venv(checkout)
    finished_venv(checkout, extras=['quant'], name=build.BESIDE)
    for extras in ([], ['--beside', 'quant']):
        command = [sys.executable, checkout / 'tools' / 'setup_env.py', *extras]
        done = subprocess.run(command, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, '')
        lines = done.stdout.splitlines()
        assert [line.partition(' is complete')[0] for line in lines] == [
            f'make env: {name}' for name in ('.venv', build.BESIDE)[: len(lines)]
        ]
    assert len(lines) == 2
    assert stamp.read_stamp(checkout / '.venv')['extras'] == {}


def test_the_tests_have_every_extra_beside_them_but_that_of_the_documentation():
    (line,) = [
        line for line in (ROOT / 'Makefile').read_text().splitlines() if 'BESIDE=1 EXTRAS=p' in line
    ]
    assert {*line.partition('EXTRAS=')[2].split(',')} == {*stamp.EXTRAS} - {'dev', 'docs'}
