"""Words after ``--cfg-options`` as values."""

import argparse

import pytest

from mmadapt.cli.options import DictAction


def parse(*words):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    return parser.parse_args(['--cfg-options', *words]).cfg_options


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('/data/my images/', '/data/my images/'),
        ('/data/my (1) images/', '/data/my (1) images/'),
        ("['traffic light','stop sign']", ['traffic light', 'stop sign']),
        ('[traffic light, car]', ['traffic light', 'car']),
        ('(a b, [c d, 2])', ('a b', ['c d', 2])),
        ('1, 2', [1, 2]),
        (' 3 ', 3),
        ('[ true , None ]', [True, None]),
        ('', ''),
    ],
)
def test_spaces_within_a_name_stay_and_those_around_it_go(text, value):
    assert parse(f'a.b={text}') == {'a.b': value}
