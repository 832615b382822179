"""A model that is adapted by its wrapper, against one that is adapted by the hook."""

import pytest
import torch
from stock_runs import losses, run, write_base, write_config, write_data

from mmadapt.files import read_checkpoint

DORA = dict(method=dict(type='DoRA', r=4, alpha=8))
# The hook by its name, as a wrapper brings none along; `peft` at the top is for PEFTInjectHook.
WRAPPED = """
peft = None
custom_hooks = [dict(type='RandomStateHook')]
model_wrapper_cfg = dict(type='PEFTDistributedDataParallel', peft={})
"""


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data')
    write_data(folder)
    write_base(folder / 'base.pth', 'rtmdet')
    return folder


def _state(path):
    return read_checkpoint(str(path))['state_dict']


def test_the_wrapper_trains_and_resumes_bit_for_bit_what_the_hook_trains(data, tmp_path):
    configs = [
        write_config(
            tmp_path,
            'rtmdet',
            data,
            data / 'base.pth',
            DORA,
            ema=False,
            epochs=2,
            name=name,
            extra=extra,
        )
        for name, extra in (('hook', ''), ('wrapper', WRAPPED.format(DORA)))
    ]
    states, logged = [], []
    for config in configs:
        run('train.py', config, '--work-dir', tmp_path / config.stem, processes=2)
        states.append(_state(tmp_path / config.stem / 'epoch_2.pth'))
        logged.append(losses(tmp_path / config.stem))
    by_hook, by_wrapper = states
    assert logged[0] == logged[1] != {}
    assert any(key.endswith('magnitude') for key in by_hook)
    assert all(torch.equal(by_wrapper[key], value) for key, value in by_hook.items())
    base = _state(data / 'base.pth')
    frozen = {
        key
        for key in set(by_wrapper) - set(by_hook)
        if not key.startswith('bbox_head') and 'num_batches' not in key
    }
    assert frozen
    assert all(torch.equal(by_wrapper[key], base[key]) for key in frozen)

    run(
        'train.py',
        configs[1],
        '--work-dir',
        tmp_path / 'resumed',
        '--resume',
        tmp_path / 'wrapper' / 'epoch_1.pth',
        processes=2,
    )
    resumed = _state(tmp_path / 'resumed' / 'epoch_2.pth')
    assert resumed.keys() == by_wrapper.keys()
    assert all(torch.equal(resumed[key], value) for key, value in by_wrapper.items())
    before = _state(tmp_path / 'wrapper' / 'epoch_1.pth')
    moved = [
        not torch.equal(value, before[key])
        for key, value in by_wrapper.items()
        if key.endswith('magnitude')
    ]
    assert all(moved)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['load_from=None'], 'more parameters are frozen but no weight was loaded into them'),
        (['model_wrapper_cfg.peft.adapter=folder'], 'peft.adapter in model_wrapper_cfg'),
        (['model_wrapper_cfg.peft.keep_classes=False'], 'peft.keep_classes in model_wrapper_cfg'),
        (['model_wrapper_cfg.peft.methd=1'], "peft has no key 'methd'; nearest: 'method'"),
    ],
)
def test_what_the_wrapper_cannot_do_is_refused(options, message, data, tmp_path):
    config = write_config(
        tmp_path, 'rtmdet', data, data / 'base.pth', DORA, ema=False, extra=WRAPPED.format(DORA)
    )
    log = run(
        'train.py',
        config,
        '--work-dir',
        tmp_path,
        '--cfg-options',
        *options,
        processes=2,
        fails=True,
    )
    assert message in log
