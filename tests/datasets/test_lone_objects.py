"""RTMO stops at a batch with one object alone, as at the first step of a run of single images."""

import json
from pathlib import Path

import pose_leaves
import pytest
from leaf_chain import Leaf, small_config
from mmengine.config import Config

from mmadapt.datasets import lone_objects
from mmadapt.datasets.lone_objects import check_lone_objects
from mmadapt.errors import UserError

RTMO = Leaf('rtmo-s_lora_face_pose', pose_leaves, counts={}, resized='-')
FILE = 'data/face_pose/train/annotations_coco.json'


@pytest.fixture
def cfg(tmp_path, monkeypatch):
    """Of two images of two objects each, one at a time."""
    pytest.importorskip('mmpose.models', exc_type=ImportError)
    pose_leaves.write_data(tmp_path)
    monkeypatch.chdir(tmp_path)
    cfg = small_config(RTMO, tmp_path)
    cfg.train_dataloader.batch_size = 1
    return cfg


@pytest.fixture
def said(monkeypatch):
    """The warnings, a line each."""
    lines = []
    monkeypatch.setattr(lone_objects, 'warn', lines.append)
    return lines


def rewrite(change):
    """Change the list of annotations of the training file."""
    content = json.loads(Path(FILE).read_text())
    change(content['annotations'])
    Path(FILE).write_text(json.dumps(content))


def unmixed(cfg):
    """The same with the pipeline that the stock one ends with, which mixes no images."""
    cfg.train_dataloader.dataset.pipeline = cfg.custom_hooks[0].new_train_pipeline
    return cfg


def test_single_images_of_one_object_are_refused(cfg: Config, said):
    check_lone_objects(unmixed(cfg))
    rewrite(lambda annotations: annotations.pop())
    with pytest.raises(
        UserError, match=r'batch_size=1, and 1 of 2 images of train_\S+ have one ob'
    ):
        check_lone_objects(cfg)
    cfg.train_dataloader.batch_size = 2
    check_lone_objects(cfg)
    cfg.train_dataloader.batch_size = 1
    cfg.model.head.type = 'RTMCCHead'
    check_lone_objects(cfg)
    assert not said


def test_where_images_are_mixed_one_object_may_have_company(cfg: Config, said):
    check_lone_objects(cfg)
    assert not said
    rewrite(lambda annotations: annotations.pop())
    check_lone_objects(cfg)
    (line,) = said
    assert '1 of 2 images of train_dataloader.dataset have one object' in line
    # A pipeline that a hook switches to may mix too.
    mixing = cfg.train_dataloader.dataset.pipeline
    unmixed(cfg).custom_hooks[0].new_train_pipeline = mixing
    check_lone_objects(cfg)
    assert said == [line, line]


def test_objects_that_are_no_targets_keep_none_company(cfg: Config):
    for change in (dict(iscrowd=1), dict(keypoints=[0] * 15, num_keypoints=0)):
        rewrite(lambda annotations, change=change: annotations[-1].update(change))
        with pytest.raises(UserError, match='1 of 2 images'):
            check_lone_objects(unmixed(cfg))
        rewrite(lambda annotations: annotations[-1].update(annotations[0], image_id=2))
