"""What FSDP2Strategy is told that cannot be, and the blocks it finds by itself."""

import pytest
from model_zoo import DETECTORS

from mmadapt import UserError
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


@pytest.fixture(scope='module')
def detr():
    return DETECTORS['DETR'].build()


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ('shrad', "strategy has no key 'shrad' under FSDP2Strategy; nearest: 'shard', all: "),
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
        (dict(prefetch=-1), 'prefetch must be an integer of at least 0, got -1'),
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
