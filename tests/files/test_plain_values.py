"""Values of configs through JSON and back."""

import json

import numpy as np
import pytest

from mmadapt.files.plain_values import NotPlainError, from_json, to_json

VALUES = [
    dict(a=[1, 2.5, None, True, 'x'], b=dict(c=())),
    dict(scale=(640, 480), scales=[(1, 2), [3, 4]]),
    {0: 'nose', 1: {'swap': ''}},
    {'@': 'a key that is a mark'},
    {'inf': float('inf'), 'names': {'a', 'b'}},
]


@pytest.mark.parametrize('value', VALUES)
def test_a_value_comes_back_as_what_it_was_tuples_and_number_keys_too(value):
    back = from_json(json.loads(json.dumps(to_json(value))))
    assert back == value
    assert repr(sorted(map(repr, back.items()))) == repr(sorted(map(repr, value.items()))) or (
        'names' in value
    )


def test_arrays_come_back_with_their_type():
    array = np.array([[0.025, 1.0]], dtype=np.float32)
    back = from_json(json.loads(json.dumps(to_json(dict(sigmas=array, n=np.int64(3))))))
    assert back['n'] == 3
    assert back['sigmas'].dtype == np.float32
    np.testing.assert_array_equal(back['sigmas'], array)


def test_what_is_no_data_is_named():
    with pytest.raises(NotPlainError, match=r'^model\.head\.loss is a function$'):
        to_json(dict(head=dict(loss=lambda: 0)), 'model')


def test_an_array_of_objects_is_not_made():
    with pytest.raises(ValueError, match='object'):
        from_json({'@': 'array', 'items': [1], 'dtype': 'O'})
