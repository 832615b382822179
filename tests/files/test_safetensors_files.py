"""Checkpoints of safetensors files, through MMEngine's loader."""

import json

import pytest
import torch
from mmengine.runner import load_checkpoint
from safetensors.torch import save_file
from torch import nn

from mmadapt import UserError
from mmadapt.files import BaseRecord, base_state_dict, make_base_record, read_checkpoint

WEIGHTS = {'weight': torch.arange(6.0).reshape(2, 3), 'bias': torch.ones(2)}


def one_file(folder):
    save_file(WEIGHTS, folder / 'model.safetensors')
    return folder / 'model.safetensors'


def shards(folder):
    """As ``save_pretrained`` writes them."""
    names = [f'model-0000{i}-of-00002.safetensors' for i in (1, 2)]
    for name, key in zip(names, WEIGHTS, strict=True):
        save_file({key: WEIGHTS[key]}, folder / name, dict(format='pt'))
    index = folder / 'model.safetensors.index.json'
    index.write_text(
        json.dumps(
            dict(metadata=dict(total_size=32), weight_map=dict(zip(WEIGHTS, names, strict=True)))
        )
    )
    return index


@pytest.mark.parametrize('write', [one_file, shards])
@pytest.mark.parametrize('as_folder', [False, True])
def test_they_are_read_wherever_a_checkpoint_is(write, as_folder, tmp_path):
    file = write(tmp_path)
    path = str(tmp_path if as_folder else file)
    model = nn.Linear(3, 2)
    load_checkpoint(model, path, strict=True)
    states = [
        model.state_dict(),
        read_checkpoint(path)['state_dict'],
        base_state_dict(nn.Linear(3, 2), BaseRecord(load_from=path)),
    ]
    assert all(torch.equal(state[key], value) for state in states for key, value in WEIGHTS.items())
    record = make_base_record(model, path, states[0])
    assert (record.not_in_base, record.load_from) == ([], path)


def test_the_classes_of_a_merged_model_come_along(tmp_path):
    """Other tools write other metadata, or none."""
    meta = dict(classes=['square', 'dot'])
    save_file(WEIGHTS, tmp_path / 'merged.safetensors', dict(dataset_meta=json.dumps(meta)))
    assert read_checkpoint(str(tmp_path / 'merged.safetensors'))['meta'] == dict(dataset_meta=meta)
    assert read_checkpoint(str(one_file(tmp_path)))['meta'] == {}


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (
            lambda folder: (folder / 'model-00002-of-00002.safetensors').unlink(),
            'incomplete: there is no .*00002-of-00002',
        ),
        (
            lambda folder: (folder / 'model-00002-of-00002.safetensors').write_bytes(b'<html>'),
            '00002-of-00002.safetensors is damaged or only half',
        ),
        (
            lambda folder: save_file(
                {'other': torch.ones(1)}, folder / 'model-00002-of-00002.safetensors'
            ),
            'names bias and 0 more tensors that its files do not hold',
        ),
        (
            lambda folder: (folder / 'model.safetensors.index.json').write_text('[]'),
            'is not an index of safetensors files',
        ),
    ],
)
def test_what_is_missing_or_damaged_is_named(spoil, message, tmp_path):
    index = shards(tmp_path)
    spoil(tmp_path)
    with pytest.raises(UserError, match=message):
        read_checkpoint(str(index))


def test_a_file_that_is_not_there_names_its_neighbors(tmp_path):
    one_file(tmp_path)
    with pytest.raises(UserError, match=r"not found; .* \['model.safetensors'\]"):
        read_checkpoint(str(tmp_path / 'modle.safetensors'))


@pytest.mark.parametrize('name', ['', 'adapter_model.safetensors'])
def test_an_adapter_is_no_checkpoint(name, tmp_path):
    save_file(WEIGHTS, tmp_path / 'adapter_model.safetensors')
    (tmp_path / 'adapter_config.json').write_text(
        json.dumps(dict(mmadapt=dict(base=dict(load_from='base.pth'))))
    )
    path = str(tmp_path / name)
    for read in (read_checkpoint, lambda path: load_checkpoint(nn.Linear(3, 2), path)):
        with pytest.raises(
            UserError,
            match='is an adapter and holds no base: load_from takes the '
            'checkpoint of its base, base.pth, and .*peft.adapter',
        ):
            read(path)
