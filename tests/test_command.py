"""The command ``mmadapt``: what it says of itself, and that it is quick where nothing is needed."""

import re
import shlex
import subprocess
import sys
from importlib import import_module

import pytest

import mmadapt_command
from mmadapt.compat import CHANGES
from mmadapt_command import COMMANDS, typed_words


def call(monkeypatch, *words):
    monkeypatch.setattr(sys, 'argv', ['/usr/bin/mmadapt', *words])
    mmadapt_command.main()


def test_help_and_version_need_nothing_of_the_package():
    for word, said in (('--help', 'usage: mmadapt'), ('', 'usage: mmadapt')):
        done = subprocess.run(
            [
                sys.executable,
                '-c',
                'import sys, mmadapt_command; mmadapt_command.main(); '
                'assert not {"mmadapt", "torch"} & set(sys.modules)',
                *shlex.split(word),
            ],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(said)
        assert all(re.search(rf'^  {name} ', done.stdout, re.M) for name in COMMANDS)


def test_the_version_is_that_of_the_package(monkeypatch, capsys):
    call(monkeypatch, '--version')
    assert capsys.readouterr().out == f'mmadapt {import_module("mmadapt").__version__}\n'


@pytest.mark.parametrize(
    ('wrong', 'nearest'),
    [('tran', 'train'), ('datasets', 'dataset'), ('inspect_targets', 'inspect'), ('--resume', '')],
)
def test_a_misspelled_subcommand_is_one_line_that_names_the_nearest(
    wrong, nearest, monkeypatch, capsys
):
    with pytest.raises(SystemExit, match='2'):
        call(monkeypatch, wrong)
    said = capsys.readouterr().err
    assert said.startswith(f"mmadapt has no subcommand '{wrong}'; nearest: '{nearest}")
    assert said.count('\n') == 1


@pytest.mark.parametrize('name', COMMANDS)
def test_every_subcommand_has_a_help_with_an_example(name, capsys):
    with pytest.raises(SystemExit, match='0'):
        import_module(f'mmadapt.commands.{name}').main(['--help'])
    said = capsys.readouterr().out
    assert said.startswith(f'usage: mmadapt {name}')
    assert f'\n    mmadapt {name}' in said


@pytest.mark.parametrize(
    ('argv', 'words'),
    [
        (['/venv/bin/mmadapt', 'train', 'a b.py'], ['mmadapt', 'train', 'a b.py']),
        (['/x/mmadapt/__main__.py', 'env'], ['python', '-m', 'mmadapt', 'env']),
        (['tools/train.py', 'c.py'], ['python', 'tools/train.py', 'c.py']),
    ],
)
def test_what_was_typed_is_repeated_as_it_was(argv, words, monkeypatch):
    monkeypatch.delenv('MMADAPT_COMMAND', raising=False)
    monkeypatch.setattr(sys, 'argv', argv)
    assert typed_words() == words


def test_env_names_versions_and_every_change(capsys):
    import_module('mmadapt.commands.env').main([])
    said = capsys.readouterr().out
    assert re.search(r'^mmengine \d\S+ \(tested: ', said, re.M)
    for change in CHANGES:
        assert all(place in said for place in change.where)
        assert change.reason.split()[0] in said


def test_a_list_that_nobody_reads_to_its_end_ends_quietly():
    done = subprocess.run(
        f'{shlex.quote(sys.executable)} -W ignore -m mmadapt configs list | head -1; '
        'echo ${PIPESTATUS[0]}',
        shell=True,
        executable='/bin/bash',
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith('_base_/')
    assert 'Traceback' not in done.stderr


def test_launch_tells_torchrun_where_the_machines_are(monkeypatch):
    launch, started = import_module('mmadapt.commands.launch'), []
    monkeypatch.setattr(launch, 'launch', lambda arguments: started.append(arguments) or 0)
    monkeypatch.setenv('MMADAPT_COMMAND', 'typed')
    assert launch.main(['2', 'train', 'c.py', '--resume', '--cfg-options', 'a=1']) == 0
    assert started.pop() == [
        '--standalone',
        '--nproc-per-node',
        '2',
        '-m',
        'mmadapt_command',
        'train',
        'c.py',
        '--resume',
        '--cfg-options',
        'a=1',
        '--launcher',
        'pytorch',
    ]
    launch.main(
        ['--nodes', '2', '--node-rank', '1', '--master-addr', 'first', '4', 'test', 'c.py', 'x.pth']
    )
    assert started.pop()[:10] == [
        '--nnodes',
        '2',
        '--node-rank',
        '1',
        '--master-addr',
        'first',
        '--master-port',
        '29500',
        '--nproc-per-node',
        '4',
    ]
