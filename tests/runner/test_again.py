"""One runner that does several things, and models that wrap the detector at test time."""

import pytest
import torch
from stock_runs import CLASSES, HERE, TTA, run, write_base, write_config, write_data

SSF = dict(method=dict(type='SSF'))


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data')
    write_data(folder)
    write_base(folder / 'base.pth', 'rtmdet')
    return folder


@pytest.mark.parametrize('strategy', ['SingleDeviceStrategy', 'DDPStrategy', 'FSDP2Strategy'])
def test_a_runner_that_has_trained_tests_the_average(strategy, data, tmp_path):
    is_whole = strategy != 'FSDP2Strategy'  # else its layers cannot be called one by one
    config = write_config(
        tmp_path,
        'rtmdet',
        data,
        data / 'base.pth',
        SSF,
        probe=f'out={str(tmp_path)!r}, sensitivity=()' if is_whole else '',
        extra=(
            f"runner_type = 'FlexibleRunner'\nstrategy = dict(type='mmadapt.{strategy}')\n{TTA}"
        ),
    )
    printed = run(HERE / 'runner_calls.py', config, tmp_path / 'run', 'train', 'test')
    assert 'Epoch(test)' in printed
    if is_whole:
        found = torch.load(tmp_path / 'test_outputs.pth')
    # The checkpoint has the average in the place of the weights.
    checkpoint = tmp_path / 'run' / 'epoch_1.pth'
    assert 'bbox_mAP' in run('test.py', config, checkpoint, '--work-dir', tmp_path)
    if is_whole:
        torch.testing.assert_close(found, torch.load(tmp_path / 'test_outputs.pth'), rtol=0, atol=0)
    assert 'bbox_mAP' in run('test.py', config, checkpoint, '--work-dir', tmp_path, '--tta')


def test_a_runner_that_has_tested_does_not_train(data, tmp_path):
    write_base(tmp_path / 'base.pth', 'rtmdet', len(CLASSES))
    config = write_config(
        tmp_path, 'rtmdet', data, tmp_path / 'base.pth', SSF, extra="runner_type = 'FlexibleRunner'"
    )
    printed = run(HERE / 'runner_calls.py', config, tmp_path, 'test', 'train')
    assert 'refused: this runner has evaluated a model and cannot train it' in printed
