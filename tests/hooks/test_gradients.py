"""Gradients under DDP."""

import subprocess

from stock_runs import HERE, command, environment, write_config


def test_two_processes_have_the_gradients_of_one_with_the_joint_batch(data, bases, tmp_path):
    config = write_config(tmp_path, 'rtmdet', data, bases('rtmdet'))
    launch = command('train.py', config, bases('rtmdet'), processes=2)
    script = next(i for i, part in enumerate(launch) if part.endswith('train.py'))
    launch[script] = str(HERE / 'joint_gradients.py')
    done = subprocess.run(launch[:-2], env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    differences = [float(line.split()[-1]) for line in done.stdout.splitlines()
                   if 'largest relative difference' in line]
    assert len(differences) == 2
    assert max(differences) < 1e-9
