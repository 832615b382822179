"""FSDP2 with what else makes a large model fit: recomputation, bfloat16, quantized weights."""

import math

import pytest
from several_runs import logged, run_several

from mmadapt.files import read_adapter

FULL = dict(method=None, targets='all', head='train', norm='train')
QLORA = dict(method=dict(type='LoRA', r=4), targets='all-linear', quant=dict(bits=4))
BLOCKS = [
    'SwinBlock',
    'DeformableDetrTransformerEncoderLayer',
    'DeformableDetrTransformerDecoderLayer',
]
STRATEGIES = dict(ddp=dict(type='DDPStrategy'), fsdp2=dict(type='FSDP2Strategy'))
STEPS = 12
RARELY = "default_hooks['checkpoint'] = dict(_delete_=True, type='CheckpointHook', interval=99)\n"


@pytest.fixture(scope='module')
def runs(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp('runs')
    plan = dict(plain=dict(config=config('plain', STRATEGIES['ddp'], FULL, extra=RARELY)))
    for name, strategy in STRATEGIES.items():
        plan[f'memory_{name}'] = dict(
            config=config(
                f'memory_{name}',
                strategy,
                FULL,
                extra=f'memory = dict(checkpoint={BLOCKS})\n{RARELY}',
            )
        )
        plan[f'bf16_{name}'] = dict(
            config=config(
                f'bf16_{name}',
                strategy,
                FULL,
                epochs=STEPS,
                images=2,
                type='AutocastOptimWrapper',
                dtype='bfloat16',
                extra=f'memory = dict(checkpoint={BLOCKS}, fp32_modules="auto")\n{RARELY}',
            )
        )
    run_several(folder, plan)
    return folder


@pytest.mark.parametrize('strategy', STRATEGIES)
def test_recomputed_blocks_give_the_same_losses_and_gradients(strategy, runs):
    for key in ('loss', 'grad_norm'):
        wanted = logged(runs / 'plain', key)
        assert len(wanted) == 3
        assert logged(runs / f'memory_{strategy}', key) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize('strategy', STRATEGIES)
def test_two_images_are_learned_in_bfloat16_without_a_step_that_is_not_finite(strategy, runs):
    losses = logged(runs / f'bf16_{strategy}')
    norms = logged(runs / f'bf16_{strategy}', 'grad_norm')
    assert len(losses) == len(norms) == STEPS
    assert all(map(math.isfinite, losses + norms))
    assert sum(losses[-3:]) < 0.87 * sum(losses[:3])


def test_it_computes_in_bfloat16(runs):
    first, wanted = (logged(runs / name)[0] for name in ('bf16_fsdp2', 'plain'))
    assert first != wanted


def test_a_quantized_base_trains_under_both_alike(config, tmp_path):
    pytest.importorskip('bitsandbytes', reason='bitsandbytes is not installed')
    run_several(
        tmp_path,
        {
            name: dict(config=config(f'quant_{name}', strategy, QLORA))
            for name, strategy in STRATEGIES.items()
        },
    )
    assert len(logged(tmp_path / 'ddp')) == 3
    assert logged(tmp_path / 'fsdp2') == pytest.approx(logged(tmp_path / 'ddp'), rel=1e-5)
    ours, wanted = (read_adapter(str(tmp_path / name / 'adapter'))[1] for name in STRATEGIES)
    assert ours.keys() == wanted.keys()
    for key, value in wanted.items():
        assert (ours[key] - value).abs().max() < 1e-5, key
