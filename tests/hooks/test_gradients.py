"""Gradients under DDP."""

from stock_runs import HERE, run, write_config


def test_two_processes_have_the_gradients_of_one_with_the_joint_batch(data, bases, tmp_path):
    config = write_config(tmp_path, 'rtmdet', data, bases('rtmdet'))
    printed = run(HERE / 'joint_gradients.py', config, bases('rtmdet'), processes=2)
    differences = [
        float(line.split()[-1])
        for line in printed.splitlines()
        if 'largest relative difference' in line
    ]
    assert len(differences) == 2
    assert max(differences) < 1e-9
