"""Which part of a model a checkpoint is of."""

import torch
from torch import nn

from mmadapt.files.prefix import part_of_checkpoint, with_full_keys


def block(width=4):
    return nn.Sequential(nn.Linear(width, 4), nn.LayerNorm(4), nn.Linear(4, 4))


def test_the_part_that_most_tensors_fit_is_found():
    model = nn.ModuleDict(dict(neck=block(5), body=nn.ModuleDict(dict(text=block()))))
    state = block().state_dict()
    assert part_of_checkpoint(model, state) == 'body.text'
    assert set(with_full_keys(model, state)) == {f'body.text.{key}' for key in state}


def test_a_checkpoint_of_the_model_itself_or_of_another_one_stays_as_it_is():
    model = nn.ModuleDict({'body': block(), '0': nn.Linear(4, 4)})
    for state in (
        model.state_dict(),
        block().state_dict(),
        {'1.weight': torch.ones(4), **{f'{i}.x': torch.ones(2) for i in range(9)}},
        {},
    ):
        assert part_of_checkpoint(model, state) == ''
        assert with_full_keys(model, state) is state
