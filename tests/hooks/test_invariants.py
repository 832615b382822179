"""What must hold of an adapted model inside MMDetection's own tools, in one process and in two."""

import json
import re

import pytest
import torch
from stock_runs import LORA, run, write_config

METHODS = {
    'LoRA': LORA,
    'DoRA': dict(method=dict(type='DoRA', r=4)),
    'SSF': dict(method=dict(type='SSF')),
}
# What two processes do, they do with every model: one is enough, and a second for recomputing.
CASES = [
    *(('LoRA', kind, 1, False) for kind in ('rtmdet', 'faster_rcnn', 'swin')),
    ('LoRA', 'rtmdet', 2, False),
    *(('LoRA', kind, 2, True) for kind in ('rtmdet', 'swin')),
    *((method, 'rtmdet', 1, False) for method in ('DoRA', 'SSF')),
]


@pytest.mark.parametrize(('method', 'kind', 'processes', 'checkpointing'), CASES)
def test_training_and_testing_with_stock_tools(
    method, kind, processes, checkpointing, data, bases, tmp_path
):
    extra = "activation_checkpointing = ['backbone', 'neck']" if checkpointing else ''
    out = tmp_path / 'probe'
    # Recomputing acts in training only.
    events = (
        []
        if checkpointing
        else (['test'] + ['val'] * (kind == 'rtmdet') + ['train'] * (method == 'LoRA'))
    )
    config = write_config(
        tmp_path,
        kind,
        data,
        bases(kind),
        METHODS[method],
        extra=extra,
        probe=f'out={str(out)!r}, sensitivity={events}, gradients=["train"]',
    )
    work_dir = tmp_path / 'run'
    log = run('train.py', config, '--work-dir', work_dir, processes=processes)

    for rank in range(processes):
        before = json.loads((out / f'train{rank}.json').read_text())
        moved = json.loads((out / f'moved{rank}.json').read_text())
        assert before['base_differs'] == [], 'a pretrained weight was lost'
        assert before['outputs_differ'] <= (1e-6 if method == 'DoRA' else 0), (
            'adapting changed what the base model computes'
        )
        assert before['optimizer'], 'the optimizer does not hold exactly what trains'
        assert before['trainable'] == before['trainable_after_train'], 'model.train() refroze'
        assert before['tensors'] > 50
        assert before['no_gradient'] == []
        assert before.get('no_effect', []) == []
        assert moved['at_rest'] == [], 'called trainable, never moved'
        assert moved['drifted'] == [], 'called frozen, moved'
    logged = re.search(r'trainable params: (\d+)', log)
    assert int(logged[1]) == before['trainable']
    if processes == 2:
        first, second = (torch.load(out / f'rank{rank}.pth') for rank in (0, 1))
        assert all(torch.equal(first[name], second[name]) for name in first)
    if checkpointing:
        return
    if kind == 'rtmdet':
        averaged = json.loads((out / 'val0.json').read_text())
        assert averaged['no_effect'] == [], 'EMA validation ignores an adapter'

    checkpoint = work_dir / 'epoch_1.pth'
    run('test.py', config, checkpoint, '--work-dir', tmp_path / 'test', processes=processes)
    tested = json.loads((out / 'test0.json').read_text())
    assert tested['no_gradient'] == []
    assert tested['no_effect'] == []

    if (method, kind, processes) == ('LoRA', 'rtmdet', 1):
        longer = write_config(
            tmp_path,
            kind,
            data,
            bases(kind),
            epochs=2,
            name='longer',
            probe=f'out={str(out)!r}, sensitivity=["resumed"]',
        )
        run('train.py', longer, '--work-dir', work_dir, '--resume')
        resumed = json.loads((out / 'resumed0.json').read_text())
        assert resumed['optimizer'], 'the optimizer does not hold exactly what trains'
        assert resumed['tensors'] == before['tensors']
        assert resumed['no_gradient'] == []
        assert resumed['no_effect'] == [], 'a resumed run ignores an adapter'
