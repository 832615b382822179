"""What may be written into `memory`, and what a wrong value is answered with."""

import pytest
from mmengine.config import ConfigDict

from mmadapt import UserError
from mmadapt.memory import MemoryConfig


def test_every_key_reaches_its_place():
    values = dict(
        checkpoint=['SwinBlock'],
        every=2,
        offload=True,
        fp32_modules=['bbox_head'],
        rematerialize=['softmax'],
    )
    assert vars(MemoryConfig.parse(ConfigDict(values))) == values
    assert type(MemoryConfig.parse(ConfigDict(values)).checkpoint) is list


def test_no_key_asks_for_nothing():
    assert (
        MemoryConfig.parse(None) == MemoryConfig.parse({}) == MemoryConfig([], 1, False, [], False)
    )


def test_a_single_name_is_a_list_of_one():
    assert MemoryConfig.parse(dict(checkpoint='SwinBlock')).checkpoint == ['SwinBlock']
    assert MemoryConfig.parse(dict(rematerialize='roi')).rematerialize == ['roi']


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        (dict(checkpont=['SwinBlock']), "no key 'checkpont'; nearest: 'checkpoint'"),
        (['SwinBlock'], 'memory must be a dict'),
        (dict(checkpoint=3), 'memory.checkpoint takes a list of class names'),
        (
            dict(checkpoint=[dict(type='SwinBlock')]),
            'memory.checkpoint takes a list of class names',
        ),
        (dict(fp32_modules=dict()), 'memory.fp32_modules takes a list of class names'),
        (
            dict(rematerialize=['atention']),
            "memory.rematerialize: a level='atention' is not one of .*; nearest: 'attention'",
        ),
        (
            dict(rematerialize=1),
            r'memory.rematerialize takes a list of levels \(resampling, .*got 1',
        ),
        (dict(offload=1), 'memory.offload must be True or False, got 1'),
        (
            dict(checkpoint=['a'], every=0),
            'memory.every must be an integer of at least 1, got 0',
        ),
        (
            dict(checkpoint=['a'], every=True),
            'memory.every must be an integer of at least 1, got True',
        ),
        (dict(checkpoint=['a'], every='2'), "memory.every must be an integer of .* got '2'"),
        (
            dict(every=2),
            'memory.every=2 chooses among the blocks that memory.checkpoint names, and it '
            'names none',
        ),
    ],
)
def test_a_wrong_value_is_named_in_one_line(cfg, message):
    with pytest.raises(UserError, match=message) as caught:
        MemoryConfig.parse(cfg)
    assert '\n' not in str(caught.value)
