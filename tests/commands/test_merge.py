"""What `mmadapt merge` finds out before it builds a model."""

import errno
import os

import pytest
from mmengine.hub import get_config

from mmadapt import UserError
from mmadapt.classes import names_of_config
from mmadapt.commands import merge as tool
from mmadapt.errors import WriteError
from mmadapt.files import AdapterRecord, BaseRecord, writing


@pytest.fixture
def merge(monkeypatch):
    """Start the tool, which must not get so far as to read its config."""

    def _merge(out, *options):
        monkeypatch.setattr(tool, 'load_config', None)
        tool.main(['leaf.py', 'adapter', str(out), *options])

    return _merge


def test_a_place_where_nothing_can_be_written_is_named_before_anything_is_computed(
    merge, tmp_path, monkeypatch
):
    (tmp_path / 'file').touch()
    with pytest.raises(WriteError, match=f'^{tmp_path}/file/out.pth cannot be written: Not a dir'):
        merge(tmp_path / 'file' / 'out.pth')

    def read_only(dir):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(dir))

    monkeypatch.setattr(writing, 'TemporaryFile', read_only)
    with pytest.raises(WriteError, match=f'^{tmp_path}/out.pth cannot be written: Permission den'):
        merge(tmp_path / 'out.pth')


def test_a_config_of_somebody_else_is_not_written_over(merge, tmp_path):
    config = tmp_path / 'out.py'
    config.write_text('mine = 1\n')
    with pytest.raises(UserError, match=f'^{config} is there, .* choose another name for OUT'):
        merge(tmp_path / 'out.pth')
    assert config.read_text() == 'mine = 1\n'
    config.write_text(tool._HEADER.format('out.pth'))
    # It may be that of another model, which out.pth and out.safetensors would share.
    with pytest.raises(UserError, match=f'^{config} is there; --force overwrites it'):
        merge(tmp_path / 'out.pth')
    with pytest.raises(TypeError, match='NoneType'):  # it goes on
        merge(tmp_path / 'out.pth', '--force')


def test_a_name_that_does_not_go_with_the_format_is_refused(merge, tmp_path):
    for name, options in (('out.safetensors', []), ('out.pth', ['--format', 'safetensors'])):
        with pytest.raises(UserError, match='does not go with the name'):
            merge(tmp_path / name, *options)


def test_a_merged_model_of_poses_says_what_it_predicts():
    """MMPose draws and flips by it, and a training that goes on keeps rows by it."""
    pytest.importorskip('mmpose', reason='MMPose is not installed')
    cfg = get_config('mmpose::body_2d_keypoint/rtmpose/coco/rtmpose-t_8xb256-420e_coco-256x192.py')
    names = names_of_config(cfg)['keypoints']
    record = AdapterRecord({}, [], [], BaseRecord(), [], keypoint_names=names)
    metainfo = tool.metainfo_of_merged(cfg, record)
    assert list(metainfo['keypoint_id2name'].values()) == names
    assert {'flip_indices', 'skeleton_links'} <= metainfo.keys()
    record.keypoint_names = [*names, 'toe']  # this is not the config of that training
    assert tool.metainfo_of_merged(cfg, record) == {}
