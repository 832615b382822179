"""What the shell scripts start, on several machines and on a SLURM cluster."""

import os
import subprocess
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / 'tools'


@pytest.fixture
def start(tmp_path):
    """Run a script, with programs in the place of the real ones that print how they are called."""
    for name in ('python', 'srun'):
        (tmp_path / name).write_text('#!/bin/sh\nprintf "%s\\n" "$(basename "$0")" "$@"\n')
        (tmp_path / name).chmod(0o755)

    def run(script, *args, **variables):
        done = subprocess.run(
            [TOOLS / script, *args],
            text=True,
            capture_output=True,
            timeout=60,
            env=dict(
                os.environ,
                PATH=f'{tmp_path}:{os.environ["PATH"]}',
                VIRTUAL_ENV='active',
                **variables,
            ),
        )
        return done.returncode, done.stdout.splitlines() or done.stderr.splitlines()

    return run


def options(said):
    """Return each word that was given, with the one behind it."""
    return set(zip(said, said[1:], strict=False))


@pytest.mark.parametrize('script', ['dist_train.sh', 'dist_test.sh'])
def test_several_machines_are_told_of_each_other(script, start):
    own = ['config.py', '4'] if script == 'dist_train.sh' else ['config.py', 'epoch_1.pth', '4']
    code, said = start(
        script, *own, '--amp', NNODES='2', NODE_RANK='1', MASTER_ADDR='10.0.0.1', PORT='29511'
    )
    assert code == 0
    assert options(said) >= {
        ('--nnodes', '2'),
        ('--node-rank', '1'),
        ('--master-addr', '10.0.0.1'),
        ('--master-port', '29511'),
        ('--nproc-per-node', '4'),
        ('--launcher', 'pytorch'),
    }
    assert said[-1] == '--amp'


def test_one_machine_needs_no_port(start):
    _, said = start('dist_train.sh', 'config.py', '2')
    assert '--standalone' in said
    assert ('--nproc-per-node', '2') in options(said)


@pytest.mark.parametrize(
    ('script', 'tool'), [('slurm_train.sh', 'train.py'), ('slurm_test.sh', 'test.py')]
)
def test_a_cluster_is_asked_for_gpus_by_node(script, tool, start):
    own = ['gpu', 'job', 'config.py', 'work' if tool == 'train.py' else 'epoch_1.pth']
    code, said = start(
        script,
        *own,
        '--seed',
        '3',
        GPUS='16',
        GPUS_PER_NODE='4',
        CPUS_PER_TASK='6',
        SRUN_ARGS='--exclusive --time=1',
    )
    assert code == 0
    assert said[0] == 'srun'
    assert options(said) >= {
        ('--partition', 'gpu'),
        ('--job-name', 'job'),
        ('--gres', 'gpu:4'),
        ('--ntasks', '16'),
        ('--ntasks-per-node', '4'),
        ('--cpus-per-task', '6'),
        (str(TOOLS / tool), 'config.py'),
    }
    assert {'--exclusive', '--time=1', '--launcher=slurm'} < set(said)
    assert said[-2:] == ['--seed', '3']


@pytest.mark.parametrize(
    ('script', 'args'),
    [
        ('dist_train.sh', ['config.py']),
        ('dist_train.sh', ['config.py', '0']),
        ('dist_test.sh', ['config.py', '2']),
        ('slurm_train.sh', ['gpu', 'job', 'config.py']),
    ],
)
def test_what_is_missing_is_said_by_the_usage(script, args, start):
    code, said = start(script, *args)
    assert code == 2
    assert said[0].startswith('usage: ')
