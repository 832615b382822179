"""torch's ZeroRedundancyOptimizer, whose state takes all processes to put together."""

import pytest
import torch
from several_runs import logged, run_several

from mmadapt.files import read_checkpoint

FULL = dict(method=None, targets='all', head='train', norm='train')
SHARDED = {
    'optim_wrapper.optimizer.type': 'ZeroRedundancyOptimizer',
    'optim_wrapper.optimizer.optimizer_type': 'AdamW',
}


@pytest.fixture(scope='module')
def runs(config, tmp_path_factory):
    """Train with and without it for two epochs, and go on from the first one of it."""
    folder = tmp_path_factory.mktemp('runs')
    run = dict(
        config=config(
            'run',
            dict(type='DDPStrategy'),
            FULL,
            epochs=2,
            images=2,
            extra="train_cfg['val_begin'] = 99\n",
        )
    )
    first = folder / 'sharded' / 'epoch_1.pth'
    run_several(
        folder,
        dict(
            plain=run,
            sharded=dict(run, options=SHARDED),
            plain_after=dict(run, resume=first),
            sharded_again=dict(run, options=SHARDED, resume=first),
        ),
    )
    return folder


@pytest.mark.parametrize('name', ['sharded', 'sharded_again', 'plain_after'])
def test_ddp_trains_saves_and_resumes_with_it(runs, name):
    wanted, found = logged(runs / 'plain'), logged(runs / name)
    assert len(wanted) == 2
    assert len(found) == (2 if name == 'sharded' else 1)
    assert found == pytest.approx(wanted[-len(found) :], rel=1e-5)
    ours, theirs = (read_checkpoint(str(runs / n / 'epoch_2.pth')) for n in (name, 'plain'))
    for key, value in theirs['state_dict'].items():
        assert torch.allclose(ours['state_dict'][key], value, atol=1e-5), key
    assert ours['optimizer']['state'].keys() == theirs['optimizer']['state'].keys()
    assert len(ours['optimizer']['state']) > 100
