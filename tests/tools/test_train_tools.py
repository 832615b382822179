"""The command-line tools refuse wrong input in one line, before anything is built."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / 'tools'
SCRIPTS = ('dist_train.sh', 'dist_test.sh', 'slurm_train.sh', 'slurm_test.sh')


def run(*command, cwd, **env):
    env = {
        **os.environ,
        'PYTHONPATH': str(TOOLS.parent),
        'CUDA_VISIBLE_DEVICES': '',
        'VIRTUAL_ENV': sys.prefix,
        'NO_COLOR': '1',
        'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
        **env,
    }
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=env,
        text=True,
        capture_output=True,
        timeout=120,
    )


@pytest.fixture
def fakes(tmp_path):
    """A folder with a python and an srun that say how they were called, a word a line."""
    for name in ('python', 'srun'):
        fake = tmp_path / 'fakes' / name
        fake.parent.mkdir(exist_ok=True)
        fake.write_text(
            f'#!/bin/sh\necho {name}; for word in "$@"; do echo "$word"; done\n'
            'echo "command: $MMADAPT_COMMAND"\necho "path: $PYTHONPATH"\n'
        )
        fake.chmod(0o755)
    return f'{tmp_path / "fakes"}:{os.environ["PATH"]}'


@pytest.mark.parametrize('script', SCRIPTS)
def test_too_few_arguments_show_the_usage(script, tmp_path):
    ended = run(TOOLS / script, 'config.py', cwd=tmp_path)
    assert ended.returncode == 2
    assert ended.stderr.startswith('usage: ')
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize('gpus', ['0', 'two', '-1', '1.5'])
def test_a_wrong_number_of_gpus_shows_the_usage(gpus, tmp_path):
    assert run(TOOLS / 'dist_train.sh', 'config.py', gpus, cwd=tmp_path).returncode == 2


def test_dist_train_starts_any_folder_and_keeps_spaces(fakes, tmp_path):
    ended = run(
        TOOLS / 'dist_train.sh',
        'my leaf.py',
        '2',
        '--work-dir',
        'a b',
        cwd=tmp_path,
        PATH=fakes,
        PYTHONPATH='/other',
    )
    assert ended.stdout.splitlines() == [
        'python',
        str(TOOLS / 'launch.py'),
        '--standalone',
        '--nproc-per-node',
        '2',
        str(TOOLS / 'train.py'),
        'my leaf.py',
        '--launcher',
        'pytorch',
        '--work-dir',
        'a b',
        f'command: {TOOLS}/dist_train.sh my\\ leaf.py 2 --work-dir a\\ b ',
        f'path: {TOOLS.parent}:/other',
    ]


def test_dist_test_passes_on_where_the_other_machines_are(fakes, tmp_path):
    ended = run(
        TOOLS / 'dist_test.sh',
        'leaf.py',
        'my checkpoint.pth',
        '4',
        '--tta',
        cwd=tmp_path,
        PATH=fakes,
        NNODES='2',
        NODE_RANK='1',
        MASTER_ADDR='first',
        PORT='1234',
    )
    assert ended.stdout.splitlines()[1:-2] == [
        str(TOOLS / 'launch.py'),
        '--nnodes',
        '2',
        '--node-rank',
        '1',
        '--master-addr',
        'first',
        '--master-port',
        '1234',
        '--nproc-per-node',
        '4',
        str(TOOLS / 'test.py'),
        'leaf.py',
        'my checkpoint.pth',
        '--launcher',
        'pytorch',
        '--tta',
    ]


def test_slurm_train_asks_for_what_its_variables_say(fakes, tmp_path):
    ended = run(
        TOOLS / 'slurm_train.sh',
        'part',
        'name',
        'my leaf.py',
        'a b',
        '--amp',
        cwd=tmp_path,
        PATH=fakes,
        GPUS='4',
        GPUS_PER_NODE='2',
        SRUN_ARGS='--quiet --qos=low',
    )
    assert ended.stdout.splitlines()[:-2] == [
        'srun',
        '--partition',
        'part',
        '--job-name',
        'name',
        '--gres',
        'gpu:2',
        '--ntasks',
        '4',
        '--ntasks-per-node',
        '2',
        '--cpus-per-task',
        '5',
        '--kill-on-bad-exit=1',
        '--quiet',
        '--qos=low',
        f'{tmp_path}/fakes/python',
        '-u',
        str(TOOLS / 'train.py'),
        'my leaf.py',
        '--work-dir=a b',
        '--launcher=slurm',
        '--amp',
    ]


def test_slurm_test_names_the_checkpoint(fakes, tmp_path):
    ended = run(
        TOOLS / 'slurm_test.sh', 'part', 'name', 'leaf.py', 'x.pth', cwd=tmp_path, PATH=fakes
    )
    assert ended.stdout.splitlines()[-7:-2] == [
        '-u',
        str(TOOLS / 'test.py'),
        'leaf.py',
        'x.pth',
        '--launcher=slurm',
    ]


def test_train_ends_with_one_line_for_a_data_set_that_is_not_there(tmp_path):
    config = TOOLS.parent / 'configs' / 'peft' / 'rtmdet_tiny_lora_face.py'
    ended = run(sys.executable, TOOLS / 'train.py', config, cwd=tmp_path)
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith(
        'annotation file not found: data/face_det/train/annotations_coco.json'
    )
    assert 'Traceback' not in ended.stderr
    assert not (tmp_path / 'work_dirs').exists(), 'an empty work directory was left behind'


def test_several_processes_say_it_once_and_end_with_its_code(tmp_path):
    (tmp_path / 'leaf.py').write_text('')
    ended = run(TOOLS / 'dist_test.sh', 'laef.py', 'x.pth', '2', cwd=tmp_path)
    assert ended.returncode == 2
    assert ended.stderr.count('there is no config file laef.py; nearest: leaf.py') == 1
    assert 'Traceback' not in ended.stderr
