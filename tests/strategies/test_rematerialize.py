"""Making again what is cheap to make, on two processes: the checkpoints are the same bit by bit."""

import importlib.util
import re

import pytest
import torch
from several_runs import checkpoint, logged, run_several

LORA = dict(method=dict(type='LoRA', r=4, alpha=8, dropout=0.1), targets='all-linear')
SSF = dict(method=dict(type='SSF'))
EMA = "custom_hooks = [dict(type='EMAHook', momentum=0.2), dict(type='PEFTInjectHook')]"
ZERO3 = dict(
    type='mmadapt.DeepSpeedStrategy',
    zero_optimization=dict(stage=3, stage3_param_persistence_threshold=0),
)
STRATEGIES = dict(
    ddp=(dict(type='DDPStrategy'), LORA),
    # Whose weights are products of parameters, gathered for their block alone.
    fsdp2=(dict(type='FSDP2Strategy'), SSF),
)
if importlib.util.find_spec('deepspeed'):
    STRATEGIES['zero3'] = (ZERO3, SSF)


@pytest.fixture(scope='module')
def runs(request, config, tmp_path_factory):
    """Train with every strategy that is asked for, with and without it; return their folder."""
    folder = tmp_path_factory.mktemp('runs')
    asked = [t.callspec.params['name'] for t in request.session.items if t.path == request.path]
    plan = {}
    for name in asked:
        strategy, peft = STRATEGIES[name]
        # ZeRO-3 averages nothing of weights that are away.
        extra = '' if name == 'zero3' else EMA
        path = config(name, strategy, peft, images=6, accumulative_counts=2, extra=extra)
        for key in ('kept', 'made'):
            options = dict(memory=dict(rematerialize=key == 'made'))
            plan[f'{name}_{key}'] = dict(config=path, options=options)
    said = run_several(folder, plan)
    made = [int(count) for count in re.findall(r'made again: (\d+) tensors', said)]
    assert len(made) == 2 * len(asked)  # by two processes
    assert min(made) > 100
    return folder


@pytest.mark.parametrize('name', STRATEGIES)
def test_it_trains_the_same(name, runs):
    losses = logged(runs / f'{name}_made')
    assert losses == logged(runs / f'{name}_kept')
    assert len(losses) == 3
    made, kept = (checkpoint(runs / f'{name}_{key}', 1) for key in ('made', 'kept'))
    for part in {'state_dict', 'ema_state_dict'} & kept.keys():
        assert made[part].keys() == kept[part].keys()
        differ = [k for k, t in kept[part].items() if not torch.equal(t, made[part][k])]
        assert differ == []
