"""What FSDP2Strategy is told that cannot be, and the blocks it finds by itself."""

import re
from types import SimpleNamespace

import pytest
from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS
from mmengine.runner import BaseLoop
from model_zoo import DETECTORS

from mmadapt import UserError
from mmadapt.recipes.strategies import why_not as planned_why_not
from mmadapt.strategies import FSDP2Strategy
from mmadapt.strategies.fsdp2.options import check_groups, check_values, refuse_unknown
from mmadapt.strategies.fsdp2.units import find_units

RIGHT = dict(
    shard=None,
    replicate=1,
    reshard_after_forward=True,
    prefetch=0,
    cpu_offload=False,
    meta_init=False,
    sharded_checkpoints=False,
)


class Loop(BaseLoop):
    def run(self):
        pass


@pytest.fixture(scope='module')
def detr():
    return DETECTORS['DETR'].build()


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ('shrad', "FSDP2Strategy has no 'shrad': nearest: 'shard', all: "),
        ('mixed_precision', "write optim_wrapper.type='AutocastOptimWrapper', or run with --amp"),
        ('activation_checkpointing', 'write memory=dict'),
        ('mesh', 'write replicate=N for N copies'),
        ('find_unused_parameters', 'train with mmadapt.DDPStrategy'),
    ],
)
def test_an_unknown_option_names_what_to_write(option, message):
    with pytest.raises(UserError, match=message):
        refuse_unknown({option: 1}, RIGHT)


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        (dict(shard='SwinBlock'), "shard takes a list .* got 'SwinBlock'"),
        (dict(prefetch=-1), 'prefetch must be a number of blocks, got -1'),
        (dict(cpu_offload=1), 'cpu_offload must be True or False, got 1'),
        (dict(reshard_after_forward='no'), "reshard_after_forward must be True, .* got 'no'"),
    ],
)
def test_a_wrong_value_is_named(wrong, message):
    check_values(RIGHT)
    with pytest.raises(UserError, match=message):
        check_values({**RIGHT, **wrong})


@pytest.mark.parametrize(
    ('size', 'kept', 'message'),
    [(8, 3, r'in groups of \[2, 4\]'), (8, 8, r'in groups of \[2, 4\]'), (2, 2, 'no other size')],
)
def test_a_group_that_does_not_divide_the_processes_is_refused(size, kept, message):
    for right in (4, False):
        check_groups(dict(replicate=1, reshard_after_forward=right), 8)
    with pytest.raises(UserError, match=message):
        check_groups(dict(replicate=1, reshard_after_forward=kept), size)
    with pytest.raises(UserError, match=message):
        check_groups(dict(replicate=2, reshard_after_forward=kept), 2 * size)


@pytest.mark.parametrize('copies', [3, 16, 0, True])
def test_copies_that_do_not_divide_the_processes_are_refused(copies):
    with pytest.raises(UserError, match=r'the 8 processes .* into \[1, 2, 4, 8\] groups'):
        check_groups(dict(replicate=copies, reshard_after_forward=True), 8)


@pytest.mark.parametrize(
    ('cfg', 'options', 'message'),
    [
        (
            dict(peft=dict(quant=dict(bits=4))),
            dict(meta_init=True),
            'strategy.meta_init=True: peft.q',
        ),
        (
            dict(default_hooks=dict(checkpoint=dict(type='CheckpointHook', out_dir='s3://a'))),
            dict(sharded_checkpoints=True),
            'default_hooks.checkpoint.out_dir=s3://a: sharded',
        ),
        (
            dict(default_hooks=dict(checkpoint=dict(type=CheckpointHook, published_keys=['meta']))),
            dict(sharded_checkpoints=True),
            'default_hooks.checkpoint.published_keys makes a file',
        ),
        (dict(custom_hooks=[dict(type='mmdet.SyncNormHook')]), {}, 'SyncNormHook averages whole'),
        (dict(compile=True), {}, 'compile: a model is not compiled under FSDP2Strategy'),
    ],
)
def test_a_run_that_the_strategy_cannot_do_is_refused_before_it_and_by_it(cfg, options, message):
    hooks = [
        HOOKS.build(hook)
        for hook in (*cfg.get('default_hooks', {}).values(), *cfg.get('custom_hooks', []))
    ]
    plan = dict(cfg, runner_type='FlexibleRunner', strategy=dict(options, type='FSDP2Strategy'))
    assert planned_why_not(Config(plan), 2).startswith(message)
    strategy = FSDP2Strategy.__new__(FSDP2Strategy)
    strategy.first_has_weights = options.get('meta_init', False)
    strategy._writes_folders = options.get('sharded_checkpoints', False)
    strategy._prepared = False
    strategy.runner = SimpleNamespace(cfg=cfg, hooks=hooks, _train_loop=Loop.__new__(Loop))
    with pytest.raises(UserError, match=re.escape(message)):
        strategy.prepare(dict(type='Nothing'), compile=cfg.get('compile', False))


def test_what_reads_no_weights_and_what_only_this_strategy_can_is_not_refused():
    cfg = dict(
        peft=dict(quant=dict(bits=4)),
        runner_type='FlexibleRunner',
        custom_hooks=[dict(type='EMAHook'), dict(type='mmdet.MeanTeacherHook')],
        default_hooks=dict(
            checkpoint=dict(type='CheckpointHook', published_keys=['meta']), visualization=None
        ),
        strategy=dict(type='FSDP2Strategy'),
    )
    assert planned_why_not(Config(cfg), 2) == ''


def test_the_blocks_of_a_transformer_and_of_its_backbone_are_found(detr):
    kinds = [type(detr.get_submodule(name)).__name__ for name in find_units(detr, None)]
    assert kinds.count('DetrTransformerEncoderLayer') == 2
    assert kinds.count('DetrTransformerDecoderLayer') == 2
    assert len([kind for kind in kinds if kind in ('BasicBlock', 'Bottleneck')]) > 4


@pytest.mark.parametrize(
    ('pattern', 'message'),
    [
        (
            'DetrTransformerEncoderLayr',
            "'DetrTransformerEncoderLayr'.*'DetrTransformerEncoderLayer'",
        ),
        ('DETR', 'which is one piece in any case; name the blocks'),
        ('bbox_head', r'whose loss\(\) detectors call'),
        (r'.*self_attn\.attn\.out_proj', 'whose weight another module reads without calling it'),
        ('backbone.relu', 'which has no parameters or is never called'),
    ],
)
def test_what_cannot_be_a_block_is_refused(pattern, message, detr):
    with pytest.raises(UserError, match=f'strategy.shard: .*{message}'):
        find_units(detr, [pattern])


def test_a_list_means_the_blocks_in_it(detr):
    assert find_units(detr, ['encoder.layers']) == ['encoder.layers.0', 'encoder.layers.1']
