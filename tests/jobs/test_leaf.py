"""A config that says only what differs from what it inherits."""

import random

import pytest
from mmengine.config import Config

from mmadapt.jobs.leaf import changes, same


def written(tmp_path, base: dict, wanted: dict) -> tuple[Config, str]:
    """Return the config that inherits ``base`` and says what makes it ``wanted``."""
    text = ''.join(f'{key} = {value!r}\n' for key, value in base.items())
    (tmp_path / 'base.py').write_text(text)
    inherited = Config.fromfile(tmp_path / 'base.py')
    text = changes(inherited, Config(wanted))
    (tmp_path / 'leaf.py').write_text(f"_base_ = ['base.py']\n{text}")
    return Config.fromfile(tmp_path / 'leaf.py'), text


@pytest.mark.parametrize(
    ('base', 'wanted', 'text'),
    [
        (dict(a=1, b=2), dict(a=1, b=3), 'b = 3\n'),
        (dict(a=dict(x=1, y=2)), dict(a=dict(x=1, y=3)), 'a = dict(y=3)\n'),
        (dict(a=dict(x=1, y=2)), dict(a=dict(y=3)), 'a = dict(_delete_=True, y=3)\n'),
        (dict(a=None), dict(a=dict(y=3)), 'a = dict(_delete_=True, y=3)\n'),
        (dict(a=dict(y=3)), dict(a=None), 'a = None\n'),
        (dict(a=[1, 2]), dict(a=(1, 2)), 'a = (1, 2)\n'),
        (dict(a=(1,)), dict(a=(2,)), 'a = (2, )\n'),
        (dict(a=1), dict(a=True), 'a = True\n'),
        (dict(a=dict(x=1)), dict(a=dict(x=1, lambda_=2)), 'a = dict(lambda_=2)\n'),
        (dict(a=0), dict(a={3: dict(b=1)}), None),
        (dict(a=0), dict(a={'class': 1, 'a.b': 2}), None),
    ],
)
def test_only_what_differs_is_said(tmp_path, base, wanted, text):
    read, said = written(tmp_path, base, wanted)
    assert all(same(read[key], value) for key, value in Config(wanted).items())
    assert text is None or said == text


def test_what_is_inherited_under_a_name_is_called_by_it(tmp_path):
    steps = [dict(type='Load'), dict(type='Resize', scale=(640, 640)), dict(type='Pack')]
    data = dict(type='CocoDataset', ann_file='a.json', prefix=dict(img='train/'))
    base = dict(my_data=data, loader=dict(dataset=dict(type='Other', pipeline=steps, old=1)))
    wanted = dict(base, loader=dict(dataset=dict(data, pipeline=steps)))
    read, text = written(tmp_path, base, wanted)
    assert same(read.loader, Config(wanted).loader)
    assert '_base_.my_data, _delete_=True' in text
    assert 'pipeline=_base_.loader.dataset.pipeline' in text


def _value(numbers: random.Random, depth: int):
    kind = numbers.choice(['dict', 'list', 'tuple', 'int', 'str', 'none', 'flag', 'float'])
    if depth and kind == 'dict':
        names = numbers.sample(['a', 'b', 'type', 'in', 'x y', 'items', 'update'], 3)
        return {name: _value(numbers, depth - 1) for name in names}
    if depth and kind in ('list', 'tuple'):
        items = [_value(numbers, depth - 1) for _ in range(numbers.randint(0, 3))]
        return items if kind == 'list' else tuple(items)
    choices = dict(int=1, str="it's", none=None, flag=True, float=0.5)
    return choices.get(kind, 2)


def _changed(numbers: random.Random, value, depth: int):
    if isinstance(value, dict) and numbers.random() < 0.8:
        kept = {k: _changed(numbers, v, depth) for k, v in value.items() if numbers.random() < 0.8}
        return {**kept, 'new': _value(numbers, depth)} if numbers.random() < 0.3 else kept
    return value if numbers.random() < 0.5 else _value(numbers, depth)


@pytest.mark.parametrize('seed', range(30))
def test_any_config_becomes_any_other(tmp_path, seed):
    numbers = random.Random(seed)
    base = {name: _value(numbers, 3) for name in ('model', 'loader', 'hooks', 'data_x')}
    wanted = {key: _changed(numbers, value, 2) for key, value in base.items()}
    read, text = written(tmp_path, base, wanted)
    for key, value in Config(wanted).items():
        assert same(read[key], value), text
