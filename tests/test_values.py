"""What values a config may have, and what is said of others: where, what, and the nearest name."""

import math
import re
from types import MappingProxyType

import pytest

from mmadapt import UserError
from mmadapt.values import (
    check_count,
    check_dict,
    check_flag,
    check_keys,
    check_list,
    check_number,
    check_one_of,
    check_patterns,
    check_text,
    check_together,
    close_names,
    is_integer,
    is_number,
    nearest,
    nearest_module,
)

SIZE = 2**63 - 1  # the largest that torch takes


def refuse(check, *args, said, **kwargs):
    with pytest.raises(UserError, match=f'^{re.escape(said)}$'):
        check('key', *args, **kwargs)


def test_a_flag_is_no_number_and_a_number_no_flag():
    for value in (0, 1, -(10**400)):
        assert is_integer(value)
        assert is_number(value)
    for value in (0.5, math.inf):
        assert is_number(value)
        assert not is_integer(value)
    for value in (True, False, '1', None, 1j):
        assert not is_number(value)
        assert not is_integer(value)
    for value in (True, False):
        check_flag('key', value)
    for value in (0, 1, None, 'True'):
        refuse(check_flag, value, said=f'key must be True or False, got {value!r}')


def test_counts_begin_at_the_least_and_end_at_what_torch_takes():
    for value in (1, 2, SIZE):
        check_count('key', value)
    check_count('key', 0, least=0)
    check_count('key', 5, least=5)
    for value in (0, -1, SIZE + 1, 1.0, True, '1', None):
        refuse(check_count, value, said=f'key must be an integer of at least 1, got {value!r}')
    refuse(check_count, 4, 5, said='key must be an integer of at least 5, got 4')


def test_numbers_are_those_allowed_and_never_nan():
    def check(where, value):
        check_number(where, value, lambda number: number >= 0, 'a number of at least 0')

    for value in (0, 0.0, 2.5, SIZE, math.inf):
        check('key', value)
    for value in (-1, -0.5, math.nan, True, '1', None, SIZE + 1, 10**400):
        refuse(check, value, said=f'key must be a number of at least 0, got {value!r}')

    def anything(where, value):
        check_number(where, value, lambda number: True, 'a number')

    anything('key', -SIZE)
    for value in (math.nan, -SIZE - 1):
        refuse(anything, value, said=f'key must be a number, got {value!r}')


def test_one_of_several_is_one_by_its_type_too():
    for value in ('a', 1, None):
        check_one_of('key', value, ('a', 1, None))
    for value in (True, 1.0, 0, False, []):
        refuse(
            check_one_of, value, ('a', 1, None), said=f"key={value!r} is not one of ['a', 1, None]"
        )
    refuse(
        check_one_of,
        'axis',
        ('axes', 'bits'),
        ', or none',
        said="key='axis' is not one of ['axes', 'bits']; nearest: 'axes', or none",
    )


def test_a_text_is_not_empty():
    check_text('key', 'a', 'a path')
    for value in ('', None, b'a', 1):
        refuse(check_text, value, 'a path', said=f'key must be a path, got {value!r}')


def test_a_list_has_items_of_its_kinds_and_as_many_as_there_have_to_be():
    for value in (['a', 1], ('a',), []):
        check_list('key', value, (str, int), 'names')
    for value in ('a', {'a'}, None, {'a': 1}):
        refuse(check_list, value, (str,), 'names', said=f'key takes a list of names; got {value!r}')
    refuse(check_list, ['a', 1], (str,), 'names', said='key takes a list of names; 1 is none')
    check_list('key', ['a'], (str,), 'names', least=1)
    refuse(check_list, [], (str,), 'names', 1, said='key takes a list of names; got []')


def test_a_dict_is_one_and_an_example_is_given():
    check_dict('key', {})
    check_dict('key', MappingProxyType({}))
    refuse(check_dict, [], said='key must be a dict, got []')
    refuse(check_dict, None, 'dict(r=8)', said='key must be a dict such as dict(r=8), got None')


def test_a_key_that_is_unknown_is_named_with_the_nearest_or_with_what_is_meant():
    names, others = ('rank', 'alpha'), dict(lora_alpha='write alpha')
    check_keys('key', dict(rank=1, alpha=2), names, others)
    refuse(check_keys, 3, names, said='key must be a dict, got 3')
    refuse(
        check_keys,
        dict(rank=1, rnak=2),
        names,
        owner=' for LoRA',
        hint='. See there',
        said="key has no key 'rnak' for LoRA; nearest: 'rank', all: ['rank', 'alpha']. See there",
    )
    refuse(
        check_keys,
        dict(lora_alpha=2),
        names,
        others,
        said="key has no key 'lora_alpha'; write alpha",
    )
    refuse(
        check_keys,
        {1: 2},
        names,
        said="key has the key 1, which is no string; all: ['rank', 'alpha']",
    )


def test_patterns_have_names_and_values_that_are_checked_where_they_stand():
    check_patterns('key', None, check_count)
    check_patterns('key', {'backbone': 4}, check_count)
    refuse(
        check_patterns,
        {'backbone': 4, 'neck': 0},
        check_count,
        said="key['neck'] must be an integer of at least 1, got 0",
    )
    refuse(
        check_patterns,
        {'': 1},
        check_count,
        said="key: a key must be a name, suffix or regular expression of layers, got ''",
    )
    for value in ([1], [], 0, ''):
        refuse(
            check_patterns,
            value,
            check_count,
            said="key must be a dict such as {'backbone': 4}, by name, suffix or regular "
            f'expression of layers, got {value!r}',
        )


def test_all_that_is_wrong_is_said_at_once_and_what_is_no_mistake_of_a_user_passes():
    passed = []
    check_together(lambda: passed.append(1), lambda: passed.append(2))
    assert passed == [1, 2]
    with pytest.raises(UserError, match='^b must be a dict, got 2$'):
        check_together(list, lambda: check_dict('b', 2))
    with pytest.raises(
        UserError, match='^a must be True or False, got 1\nb must be a dict, got 2$'
    ):
        check_together(lambda: check_flag('a', 1), list, lambda: check_dict('b', 2))
    with pytest.raises(ZeroDivisionError):
        check_together(lambda: 1 / 0)


def test_the_nearest_names_come_first_and_strangers_only_where_one_has_to_be_named():
    names = ['backbone', 'bbox_head', 'neck', 5]
    assert close_names('bakbone', names) == ['backbone']
    assert close_names('5', names) == ['5']
    assert close_names('xyz', names) == []
    assert close_names('nck', [*names, 'nick'], most=3) == ['nick', 'neck']
    assert close_names('back', names, likeness=0.9) == []
    assert nearest('xyz', ['abc']) == "'abc'"
    assert nearest('neck', []) == 'none'
    assert nearest(None, ['None', 'nine']) == "'None'"
    assert nearest('nck', [*names, 'nick'], most=2) == "'nick', 'neck'"


def test_a_suffix_is_nearest_to_suffixes_and_a_full_name_to_full_names():
    names = ['', 'backbone', 'backbone.blocks.0.attn.qkv', 'backbone.blocks.1.attn.qkv']
    assert nearest_module('qkv2', names).startswith("'qkv'")
    assert nearest_module('atn.qkv', names).startswith("'attn.qkv'")
    assert nearest_module('backbone.blocks.2.attn.qkv', names) == (
        "'backbone.blocks.1.attn.qkv', 'backbone.blocks.0.attn.qkv', 'backbone'"
    )
    # One that lacks a part of a name, too.
    assert nearest_module('backbone.blocks.attn.qkv', names).startswith(
        "'backbone.blocks.1.attn.qkv', 'backbone.blocks.0.attn.qkv'"
    )
    assert nearest_module('SwinBlok', names, ['SwinBlock']).startswith("'SwinBlock'")
    assert nearest_module('a', [''], []) == 'none'
