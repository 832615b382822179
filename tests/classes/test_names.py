"""Where the names of classes come from, and which one counts."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmdet.datasets import CocoDataset, VOCDataset
from mmengine.config import Config
from mmengine.registry import init_default_scope
from safetensors.torch import save_file

from mmadapt.classes import (
    find_kept,
    names_in,
    names_of_checkpoint,
    names_of_config,
    names_of_record,
    names_of_run,
)
from mmadapt.classes.names import usual_names
from mmadapt.files import KEY, AdapterRecord, BaseRecord, read_checkpoint

COCO = [*CocoDataset.METAINFO['classes']]
TWO = dict(classes=['a', 'b'], things=['a', 'b'])


@pytest.mark.parametrize(
    'checkpoint',
    [
        dict(meta=dict(dataset_meta=dict(classes=('a', 'b')), CLASSES=['other'])),
        dict(meta=dict(dataset_meta=dict(CLASSES=('a', 'b')))),
        dict(meta=dict(CLASSES=('a', 'b'))),
        {'meta': dict(dataset_meta={}), KEY: dict(class_names=['a', 'b'])},
        {'meta': dict(dataset_meta=dict(classes=('a', 'b'))), KEY: dict(class_names=['x'])},
    ],
)
def test_a_checkpoint_names_its_classes(checkpoint):
    assert names_of_checkpoint(checkpoint) == TWO


@pytest.mark.parametrize(
    'meta', [None, {}, dict(CLASSES='person'), dict(dataset_meta=dict(classes=()))]
)
def test_a_checkpoint_may_say_nothing(meta):
    assert names_of_checkpoint(dict(meta=meta, state_dict={})) == {}
    assert names_of_checkpoint(dict(state_dict={})) == {}


def test_the_config_in_a_checkpoint_is_not_run(tmp_path):
    proof = tmp_path / 'run'
    text = f"open({str(proof)!r}, 'w')\nclasses = ('a', 'b')"
    assert names_of_checkpoint(dict(meta=dict(cfg=text, config=text))) == {}
    assert not proof.exists()


def test_things_and_stuff_are_told_apart():
    meta = dict(classes=('a', 's'), thing_classes=['a'], stuff_classes=['s'])
    assert names_in(meta) == dict(classes=['a', 's'], things=['a'], stuff=['s'])


@pytest.mark.parametrize('keys', [(2, 0, 1), ('2', '0', '1')])
def test_keypoints_are_in_the_order_of_their_numbers(keys):
    """A file of safetensors has texts for numbers. Their data sets' CLASSES are no names."""
    names = dict(zip(keys, ('hip', 'nose', 'ear'), strict=True))
    meta = dict(keypoint_id2name=names, CLASSES=[dict(id=1, name='person')])
    assert names_in(meta) == dict(keypoints=['nose', 'ear', 'hip'])


def test_a_record_keeps_the_names_of_keypoints(build_detector):
    from mmadapt import inject

    model = build_detector()
    inject(model, dict(method=dict(type='LoRA', r=2)))
    plain = AdapterRecord.of(model, BaseRecord()).to_dict()
    assert 'keypoint_names' not in plain  # older versions read what is no model of poses
    record = AdapterRecord.of(model, BaseRecord(), keypoint_names=('nose', 'ear'))
    read = AdapterRecord.from_dict(record.to_dict(), 'FILE')
    assert names_of_record(vars(read)) == dict(keypoints=['nose', 'ear'])
    assert names_of_record(record.to_dict()) == dict(keypoints=['nose', 'ear'])
    assert AdapterRecord.from_dict(plain, 'FILE').keypoint_names is None


def test_safetensors_name_them_too(tmp_path):
    path = tmp_path / 'merged.safetensors'
    save_file(dict(x=torch.ones(1)), path, dict(dataset_meta='{"classes": ["a", "b"]}'))
    assert names_of_checkpoint(read_checkpoint(str(path))) == TWO


LEAF = """
_base_ = ['mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py']
model = dict(bbox_head=dict(num_classes=2))
train_dataloader = dict(dataset=dict({dataset}metainfo=dict(classes=('dot', 'person'))))
"""


@pytest.mark.parametrize(
    'dataset', ['', "_delete_=True, type='BaseDetDataset', "], ids=['type', 'stock config']
)
def test_what_a_file_does_not_say_is_what_the_stock_config_says(dataset, tmp_path):
    """Where that is as many as the file has rows; the config's own names are the new ones."""
    init_default_scope('mmdet')
    path = Path(tmp_path / 'leaf.py')
    path.write_text(LEAF.format(dataset=dataset))
    cfg = Config.fromfile(path)
    assert names_of_config(cfg)['classes'] == ['dot', 'person']
    assert names_of_run(SimpleNamespace(cfg=cfg)) == names_of_config(cfg)
    usual = [names.get('classes') for names in usual_names(cfg)]
    assert usual[0] == COCO
    assert (usual[-1] == COCO) is (not dataset)
    from mmadapt.config_model import build_model

    model = build_model(cfg)
    key = 'bbox_head.rtm_cls.0.weight'
    row = COCO.index('person')

    def keep(count):
        source = dict(model.state_dict())
        for level in range(3):
            for name in ('weight', 'bias'):
                old = source[f'bbox_head.rtm_cls.{level}.{name}']
                source[f'bbox_head.rtm_cls.{level}.{name}'] = torch.zeros(count, *old.shape[1:])
        return find_kept(model, cfg, names_of_config(cfg), {}, source, 'FILE')

    assert keep(80).entries[key] == {0: ([row], [1])}
    assert keep(79) is None
    cfg.train_dataloader.dataset.type = 'VOCDataset'
    row = VOCDataset.METAINFO['classes'].index('person')
    assert keep(20).entries[key] == {0: ([row], [1])}


def test_the_names_of_a_run_are_those_of_its_data():
    loader = SimpleNamespace(dataset=SimpleNamespace(metainfo=dict(classes=('a', 'b'))))
    assert names_of_run(SimpleNamespace(train_dataloader=loader, cfg=Config())) == TWO
    loader.dataset = SimpleNamespace()
    assert names_of_run(SimpleNamespace(train_dataloader=loader, cfg=Config())) == {}


def test_poses_are_named_by_their_keypoints():
    pytest.importorskip('mmpose', reason='MMPose is not installed')
    from mmengine.hub import get_config

    cfg = get_config('mmpose::body_2d_keypoint/rtmpose/coco/rtmpose-t_8xb256-420e_coco-256x192.py')
    names = names_of_config(cfg)
    assert names.keys() == {'keypoints'}
    assert names['keypoints'][:2] == ['nose', 'left_eye']
    assert len(names['keypoints']) == 17
    inner = dict(cfg.train_dataloader.dataset)
    for wholebody, count in ((None, 17), ('coco_wholebody', 133)):
        metainfo = wholebody and dict(from_file=f'configs/_base_/datasets/{wholebody}.py')
        cfg.train_dataloader.dataset = dict(
            type='CombinedDataset', datasets=[inner], metainfo=metainfo
        )
        assert len(names_of_config(cfg)['keypoints']) == count
