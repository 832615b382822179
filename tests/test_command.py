"""The command ``mmadapt``: what it says of itself, and that it is quick where nothing is needed."""

import os
import re
import shlex
import subprocess
import sys
import warnings
from contextlib import nullcontext
from importlib import import_module

import pytest

import mmadapt_command
from mmadapt.compat import CHANGES
from mmadapt.config_files import config_names
from mmadapt_command import COMMANDS, typed_words


def call(monkeypatch, *words):
    # What a command does to signals and warnings must not last.
    monkeypatch.setattr('signal.signal', lambda *_: None)
    monkeypatch.setattr('warnings.showwarning', warnings.showwarning)
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
    [
        ('tran', 'train'),
        ('datasets', 'dataset'),
        ('inspect_targets', 'inspect'),
        ('--resume', ''),
        ('--verion', '--version'),
        ('help', '--help'),
    ],
)
def test_a_misspelled_subcommand_is_one_line_that_names_the_nearest(
    wrong, nearest, monkeypatch, capsys
):
    with pytest.raises(SystemExit, match='2'):
        call(monkeypatch, wrong)
    said = capsys.readouterr().err
    assert said.startswith(f"mmadapt has no subcommand '{wrong}'; nearest: '{nearest}")
    assert said.count('\n') == 1


def examples(text):
    """Return the lines of a help that can be typed, in words."""
    return [shlex.split(line) for line in re.findall(r'^ +mmadapt (.+)$', text, re.M)]


@pytest.mark.parametrize('name', ['', *COMMANDS])
def test_every_help_has_examples_that_can_be_typed(name, monkeypatch, capsys):
    with pytest.raises(SystemExit, match='0') if name else nullcontext():
        call(monkeypatch, *([name] if name else []), '--help')
    said = capsys.readouterr().out
    assert said.startswith(f'usage: mmadapt {name or "SUBCOMMAND"}')
    found = examples(said)
    assert found
    assert all(not name or subcommand == name for subcommand, *_ in found)
    copied = 'rtmdet_tiny_lora_face.py'
    assert f'peft/{copied}' in config_names()
    monkeypatch.setenv('LOCAL_RANK', '0')
    for subcommand, *words in found:
        args = import_module(f'mmadapt.commands.{subcommand}').parse_args(words)
        assert getattr(args, 'config', copied).startswith((copied, 'mmdet::'))


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (
            'train c.py --cfg-optons a=1',
            'mmadapt train: --cfg-optons is no argument of it; nearest: --cfg-options; '
            '`mmadapt train --help` shows how it is used',
        ),
        ('train c.py --resum', 'mmadapt train: --resum is no argument of it; nearest: --resume'),
        (
            'train c.py d.py --resum',
            'mmadapt train: --resum is no argument of it; nearest: --resume',
        ),
        (
            'train c.py --resum=work_dirs/a/epoch_1.pth',
            'mmadapt train: --resum=work_dirs/a/epoch_1.pth is no argument of it; nearest: --resume; `',
        ),
        ('env all', 'mmadapt env: all is no argument of it; `'),
        (
            'configs copy a.py . --forc',
            'mmadapt configs copy: --forc is no argument of it; nearest: --force; '
            '`mmadapt configs copy --help` shows',
        ),
        ('configs --forc list', 'mmadapt configs: --forc is no argument of it; `'),
        (
            'train c.py --cfg-options',
            'mmadapt train: argument --cfg-options: expected at least one',
        ),
        (
            'train c.py --launcher slrm',
            "mmadapt train: argument --launcher: invalid choice: 'slrm'",
        ),
        ('test c.py', 'mmadapt test: the following arguments are required: checkpoint'),
        ('launch two train c.py', "mmadapt launch: argument processes: invalid int value: 'two'"),
        ('configs copy', 'mmadapt configs copy: the following arguments are required: name'),
        ('configs copi', "mmadapt configs: argument list|copy: invalid choice: 'copi'"),
        ('merge c.py a b.pth --forc', 'mmadapt merge: --forc is no argument of it; nearest: --for'),
    ],
)
def test_a_wrong_argument_is_one_line_that_names_the_nearest(words, said, monkeypatch, capsys):
    with pytest.raises(SystemExit, match='2'):
        call(monkeypatch, *shlex.split(words))
    shown = capsys.readouterr().err
    assert shown.startswith(said)
    assert shown.count('\n') == 1


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


@pytest.mark.parametrize('name', ['train', 'test'])
@pytest.mark.parametrize('option', ['--local_rank', '--local-rank'])
def test_a_launcher_may_say_which_process_it_is_by_an_argument_or_the_environment(
    name, option, monkeypatch
):
    parse = import_module(f'mmadapt.commands.{name}').parse_args
    words = ['c.py', *(['x.pth'] if name == 'test' else [])]
    monkeypatch.setenv('LOCAL_RANK', '0')  # which it sets; taken back with this
    for launcher in ('none', 'pytorch', 'slurm', 'mpi'):
        monkeypatch.delenv('LOCAL_RANK')
        assert parse([*words, '--launcher', launcher, f'{option}=1']).launcher == launcher
        assert os.environ['LOCAL_RANK'] == '1'
        assert parse([*words, f'{option}=2']).launcher == 'none'
        assert os.environ['LOCAL_RANK'] == '1'


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
