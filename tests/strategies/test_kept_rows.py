"""Rows kept by the names of their classes reach the weights of all processes, however sharded."""

import importlib.util

import pytest
import torch
from several_runs import checkpoint, run_several

LORA = dict(method=dict(type='LoRA', r=4, alpha=8), targets='all-linear')
STRATEGIES = dict(
    ddp=dict(type='DDPStrategy'),
    fsdp2=dict(type='FSDP2Strategy'),
    # Only the first process has weights when they are loaded.
    meta_init=dict(type='FSDP2Strategy', meta_init=True),
    zero3=dict(
        type='mmadapt.DeepSpeedStrategy',
        torch_autocast=dict(enabled=False),
        zero_optimization=dict(
            stage=3, reduce_bucket_size='1e5', stage3_param_persistence_threshold=0
        ),
    ),
)
HAS_DEEPSPEED = importlib.util.find_spec('deepspeed') is not None
ROWS = {
    'dn_query_generator.label_embedding.weight',
    *(f'bbox_head.cls_branches.{n}.{end}' for n in range(4) for end in ('weight', 'bias')),
}


@pytest.fixture(scope='module')
def runs(config, tmp_path_factory):
    """Train DINO for classes of which the base has ('square', 'dot') as 3 and 5; return both."""
    folder = tmp_path_factory.mktemp('runs')
    plan, base = {}, None
    for name, strategy in STRATEGIES.items():
        if name == 'zero3' and not HAS_DEEPSPEED:
            continue
        path = config(name, strategy, LORA, images=2, extra=f"load_from = '{folder}/base.pth'")
        plan[name] = dict(config=path, options={'optim_wrapper.optimizer.lr': 0.0})
        base = torch.load(path.parent / 'base.pth')
    classes = [f'class {n}' for n in range(80)]
    classes[3], classes[5] = 'dot', 'a square'
    base['meta'] = dict(dataset_meta=dict(classes=classes))
    torch.save(base, folder / 'base.pth')
    run_several(folder, plan)
    return folder, base['state_dict']


@pytest.mark.parametrize('name', STRATEGIES)
def test_the_rows_of_a_kept_class_reach_all_processes(name, runs):
    if name == 'zero3' and not HAS_DEEPSPEED:
        pytest.skip('deepspeed is not installed')
    folder, base = runs
    assert not (folder / name / 'error.txt').exists()
    state = checkpoint(folder / name, 1)['state_dict']
    assert state.keys() >= ROWS
    for key in ROWS:
        assert torch.equal(state[key][1], base[key][3]), key
        assert not any(torch.equal(state[key][0], row) for row in base[key]) or key.endswith('bias')
