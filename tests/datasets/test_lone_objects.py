"""RTMO stops at a batch with one object alone, as at the first step of a run of single images."""

import json
from pathlib import Path

import pose_leaves
import pytest
from leaf_chain import Leaf, small_config
from mmengine.config import Config

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


def test_single_images_of_one_object_are_refused(cfg: Config):
    check_lone_objects(cfg)
    content = json.loads(Path(FILE).read_text())
    content['annotations'].pop()
    Path(FILE).write_text(json.dumps(content))
    with pytest.raises(
        UserError, match=r'batch_size=1, and 1 of 2 images of train_\S+ have one ob'
    ):
        check_lone_objects(cfg)
    cfg.train_dataloader.batch_size = 2
    check_lone_objects(cfg)
    cfg.train_dataloader.batch_size = 1
    cfg.model.head.type = 'RTMCCHead'
    check_lone_objects(cfg)
