"""Merged models as files: stock, whole, and read where mmadapt cannot be imported."""

import copy
import json
import subprocess
import sys
import zipfile

import pytest
import torch
from mmengine.model import BaseModule
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

import mmadapt
from mmadapt import UserError, inject
from mmadapt.adapters import AdapterLayer
from mmadapt.files import MERGED_NAMES, READ_BY, write_merged
from mmadapt.memory.checkpointing import is_recomputed, recompute
from mmadapt.peft import merged_state_dict
from mmadapt.peft.config import EXPORTS

METAINFO = dict(classes=('cat', 'dog'), palette=[(1, 2, 3), (4, 5, 6)])
# RTMDet has convolutions under several names, here adapted ones and frozen ones; ResNet freezes
# stages and norms by itself.
DETECTORS = ('rtmdet/rtmdet_tiny_8xb32-300e_coco.py', 'retinanet/retinanet_r18_fpn_1x_coco.py')
_WITHOUT_MMADAPT = """
import sys
sys.modules['mmadapt'] = None          # every import of it is an ImportError
import torch
model = torch.load(sys.argv[1], weights_only=False)
x, expected = torch.load(sys.argv[2], weights_only=True)
outputs = [t for level in model(x, mode='tensor') for t in level]
difference = max((a - b).abs().max().item() for a, b in zip(outputs, expected, strict=True))
print(model.training, model.dataset_meta['classes'], difference)
"""


@pytest.fixture(params=DETECTORS)
def detectors(request, build_detector):
    """A stock detector, one adapted and trained a little, and what the latter computes."""
    model = build_detector(request.param)
    inject(
        model,
        dict(
            method=dict(type='LoRA', r=2, dropout=0.1),
            head='adapt',
            targets='all',
            exclude=['bbox_head.cls_convs'],
        ),
    )
    torch.manual_seed(1)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, AdapterLayer):
                for name in module.adapter_names:
                    tensor = getattr(module, name)
                    tensor += 0.02 * torch.randn_like(tensor)
    x = torch.rand(1, 3, 64, 64)
    outputs = _outputs(copy.deepcopy(model).eval(), x)
    assert any(
        (a - b).abs().max() > 1e-3
        for a, b in zip(outputs, _outputs(build_detector(request.param).eval(), x), strict=True)
    )
    return build_detector(request.param), model, x, outputs


def _outputs(model, x):
    with torch.no_grad():
        return [tensor for level in model(x, mode='tensor') for tensor in level]


def _assert_close(ours, wanted):
    for a, b in zip(ours, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * max(1.0, b.abs().max().item()))


def test_a_whole_model_is_read_and_computes_the_same_where_mmadapt_cannot_be_imported(
    detectors, tmp_path
):
    stock, model, x, outputs = detectors
    before = {key: value.clone() for key, value in model.state_dict().items()}
    types = [type(module) for module in model.modules()]
    write_merged(str(tmp_path / 'whole.pth'), model, METAINFO, 'full_torch_model')

    torch.save((x, outputs), tmp_path / 'expected.pth')
    done = subprocess.run(
        [
            sys.executable,
            '-W',
            'ignore',
            '-c',
            _WITHOUT_MMADAPT,
            tmp_path / 'whole.pth',
            tmp_path / 'expected.pth',
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    # DeepSpeed, where it is installed, writes a line of its own before.
    *rest, difference = done.stdout.splitlines()[-1].split()
    assert ' '.join(rest) == "False ('cat', 'dog')"
    assert float(difference) < 1e-5 * max(1.0, *(t.abs().max().item() for t in outputs))

    with zipfile.ZipFile(tmp_path / 'whole.pth') as archive:
        (pickled,) = (archive.read(n) for n in archive.namelist() if n.endswith('/data.pkl'))
    assert b'mmadapt' not in pickled
    loaded = torch.load(tmp_path / 'whole.pth', weights_only=False)
    assert [type(m) for m in loaded.modules()] == [type(m) for m in stock.modules()]
    assert [p.requires_grad for p in loaded.train().parameters()] == [
        p.requires_grad for p in stock.train().parameters()
    ]
    assert [vars(m).keys() - {'dataset_meta'} for m in loaded.modules()] == [
        vars(m).keys() for m in stock.modules()
    ]

    assert [type(module) for module in model.modules()] == types
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_safetensors_load_strictly_also_where_modules_stand_under_several_names(
    detectors, tmp_path
):
    stock, model, x, outputs = detectors
    path = str(tmp_path / 'merged.safetensors')
    write_merged(path, model, METAINFO, 'safetensors')
    stock.load_state_dict(load_file(path), strict=True)
    _assert_close(_outputs(stock.eval(), x), outputs)
    with safe_open(path, 'pt') as file:
        metadata = file.metadata()
    assert json.loads(metadata['dataset_meta']) == dict(
        classes=['cat', 'dog'], palette=[[1, 2, 3], [4, 5, 6]]
    )
    assert metadata['format'] == 'pt'


def test_what_training_put_over_methods_is_not_in_the_whole_model(tmp_path):
    model = BaseModule()
    model.add_module('body', nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)))
    inject(model, dict(method=dict(type='LoRA', r=2)))
    recompute(model.body)
    model.train_step = torch.compile(model.init_weights)
    write_merged(str(tmp_path / 'whole.pth'), model, None, 'full_torch_model')
    loaded = torch.load(tmp_path / 'whole.pth', weights_only=False)
    assert 'forward' not in vars(loaded.body)
    assert 'train_step' not in vars(loaded)
    assert not hasattr(loaded, 'dataset_meta')
    assert is_recomputed(model.body)


def test_a_merged_model_is_written_as_one_that_is_not(tmp_path):
    model = nn.Sequential(nn.Linear(3, 3))
    inject(model, dict(method=dict(type='LoRA', r=2)))
    nn.init.normal_(model[0].lora_B)
    wanted = merged_state_dict(model)['0.weight'].clone()
    mmadapt.merge(model)
    write_merged(str(tmp_path / 'whole.pth'), model, None, 'full_torch_model')
    loaded = torch.load(tmp_path / 'whole.pth', weights_only=False)
    assert torch.equal(loaded[0].weight, wanted)
    assert type(loaded[0]) is nn.Linear
    assert vars(loaded).keys() == vars(nn.Sequential(nn.Linear(3, 3))).keys()


def test_a_whole_model_that_needs_mmadapt_or_cannot_be_pickled_is_refused_and_leaves_no_file(
    tmp_path,
):
    path = tmp_path / 'whole.pth'
    path.write_text('older')
    for part, message in (
        (UserError('a part'), r'consists of mmadapt\.errors\.UserError too'),
        (lambda: None, 'cannot be pickled as a whole: .*lambda'),
    ):
        model = nn.Sequential(nn.Linear(3, 3))
        model.part = part
        inject(model, dict(method=dict(type='LoRA', r=2)))
        with pytest.raises(UserError, match=message + ".*export it as 'state_dict'"):
            write_merged(str(path), model, None, 'full_torch_model')
    assert path.read_text() == 'older'
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize('export', MERGED_NAMES)
def test_a_folder_is_not_written_over(export, tmp_path):
    model = nn.Sequential(nn.Linear(3, 3))
    inject(model, dict(method=dict(type='LoRA', r=2)))
    with pytest.raises(UserError, match='is a folder'):
        write_merged(str(tmp_path), model, None, export)


def test_every_value_of_export_has_a_file_name_and_a_reader():
    assert (None, *MERGED_NAMES) == EXPORTS
    assert MERGED_NAMES.keys() == READ_BY.keys()
    assert len(set(MERGED_NAMES.values())) == 3


def test_a_value_of_export_that_is_none_of_these_is_refused_with_what_to_do():
    for value, message in (
        ('save_pretrained', 'that folder.* is written in any case'),
        ('safetensor', "is not one of .*nearest: 'safetensors'"),
        (False, 'peft.export=False is not one of'),
    ):
        with pytest.raises(UserError, match=message):
            inject(nn.Sequential(nn.Linear(3, 3)), dict(method=dict(type='LoRA'), export=value))
