"""The same config under the stock Runner and under FlexibleRunner, by MMDetection's own tools."""

import pytest
import stock_runs
import torch
from stock_runs import losses, run, write_base, write_config, write_data

from mmadapt.files import read_checkpoint

FLEXIBLE = "runner_type = 'FlexibleRunner'\n"
# Nothing of it is drawn: both runners must give the same bits.
SSF = dict(method=dict(type='SSF'))


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data')
    write_data(folder)
    stock, model = stock_runs.MODELS['rtmdet']
    with pytest.MonkeyPatch.context() as patch:
        # A base of the same classes, so that no layer of the head begins with random weights.
        patch.setitem(stock_runs.MODELS, 'rtmdet', (stock, model.replace('{n}', '2')))
        write_base(folder / 'base.pth', 'rtmdet')
    return folder


def config_of(folder, data, name, extra='', peft=SSF, **options):
    return write_config(
        folder, 'rtmdet', data, data / 'base.pth', peft, name=name, extra=extra, **options
    )


@pytest.fixture(scope='module')
def by_runner(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp('runner')
    config = config_of(folder, data, 'runner', epochs=2)
    for processes in (1, 2):
        run('train.py', config, '--work-dir', folder / str(processes), processes=processes)
    return folder


def same(found, wanted) -> bool:
    found, wanted = (read_checkpoint(str(path)) for path in (found, wanted))
    assert found.keys() == wanted.keys()
    for part in ('state_dict', 'ema_state_dict'):
        assert found[part].keys() == wanted[part].keys()
        assert len(found[part]) > 100
    return all(
        torch.equal(found[part][key], value)
        for part in ('state_dict', 'ema_state_dict')
        for key, value in wanted[part].items()
    )


def test_both_runners_train_the_same_bits(by_runner, data, tmp_path):
    config = config_of(tmp_path, data, 'flexible', FLEXIBLE, epochs=2)
    wanted = by_runner / '1'
    run('train.py', config, '--work-dir', tmp_path / 'work')
    assert same(tmp_path / 'work' / 'epoch_2.pth', wanted / 'epoch_2.pth')
    assert losses(tmp_path / 'work') == losses(wanted) != {}
    assert (tmp_path / 'work' / 'adapter' / 'adapter_model.safetensors').is_file()


def test_two_processes_go_on_with_a_checkpoint_of_the_stock_runner(by_runner, data, tmp_path):
    config = config_of(tmp_path, data, 'flexible', FLEXIBLE, epochs=2)
    wanted = by_runner / '2'
    log = run(
        'train.py',
        config,
        '--work-dir',
        tmp_path / 'work',
        '--resume',
        wanted / 'epoch_1.pth',
        processes=2,
    )
    assert 'resumed epoch: 1' in log
    assert same(tmp_path / 'work' / 'epoch_2.pth', wanted / 'epoch_2.pth')


def test_its_checkpoint_and_its_adapter_are_tested_as_by_the_stock_runner(
    by_runner, data, tmp_path
):
    found = []
    checkpoint, adapter = by_runner / '1' / 'epoch_2.pth', by_runner / '1' / 'adapter'
    for extra, weights, *options in (
        ('', checkpoint),
        (FLEXIBLE, checkpoint),
        (FLEXIBLE, data / 'base.pth', '--cfg-options', f'peft.adapter={adapter}'),
    ):
        out = tmp_path / str(len(found))
        config = config_of(out, data, 'config', extra, probe=f'out={str(out)!r}, sensitivity=()')
        run('test.py', config, weights, '--work-dir', out, *options)
        found.append(torch.load(out / 'test_outputs.pth'))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=0, atol=0)
