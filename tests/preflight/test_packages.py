"""A library that a config names and that is not installed is one line, with what installs it."""

import sys

import pytest
from mmengine.config import Config

from mmadapt.cli.config import load_config
from mmadapt.errors import UserError
from mmadapt.preflight import check_packages

STOCK = "'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py'"


@pytest.fixture
def without(monkeypatch):
    """Makes a package look as if it were not installed."""

    def hide(name):
        from mmengine.utils import is_installed

        def found(package):
            return package != name and is_installed(package)

        for module in ('cli.config', 'cli.reading'):
            monkeypatch.setattr(f'mmadapt.{module}.is_installed', found)
        monkeypatch.setattr(
            'mmadapt.preflight.packages.find_spec', lambda name: found(name) or None
        )

    return hide


@pytest.mark.parametrize(
    ('package', 'changes', 'line'),
    [
        ('mmpose', dict(default_scope='mmpose'), "default_scope='mmpose' is of mmpose"),
        (
            'mmpretrain',
            dict(model=dict(backbone=dict(type='mmpretrain.ConvNeXt'))),
            "model.backbone.type='mmpretrain.ConvNeXt' is of mmpretrain",
        ),
        (
            'mmseg',
            dict(train_pipeline=[dict(type='a'), dict(type='mmseg.RandomCrop')]),
            "train_pipeline.1.type='mmseg.RandomCrop' is of mmseg",
        ),
    ],
)
def test_one_named_by_a_scope_is_found_before_anything_is_built(package, changes, line, without):
    cfg = Config(dict(dict(default_scope='mmdet', model=dict(type='mmdet.RTMDet')), **changes))
    without(package)
    extra = dict(mmpose='pose', mmpretrain='cls', mmseg='seg')[package]
    with pytest.raises(UserError) as refused:
        check_packages(cfg)
    assert str(refused.value) == f'{line}, which is not installed: mmadapt install {extra}'


def test_packages_that_no_extra_brings_are_left_to_the_config(tmp_path):
    check_packages(Config(dict(default_scope='my_project', model=dict(type='my_project.Model'))))


def test_one_that_a_config_inherits_from_is_found_when_it_is_read(tmp_path, without, monkeypatch):
    config = tmp_path / 'pose.py'
    config.write_text("_base_ = ['mmpose::body_2d_keypoint/rtmpose/coco/x.py']\n")

    def missing(package):
        raise ModuleNotFoundError(f'{package} is not installed, please install it manually')

    monkeypatch.setattr('mmengine.config.config.get_installed_path', missing)
    without('mmpose')
    with pytest.raises(
        UserError, match=r'pose.py inherits mmpose::\S+x.py, and mmpose is not inst'
    ):
        load_config(str(config))
    with pytest.raises(UserError, match='mmpose is not installed: mmadapt install pose$'):
        load_config('mmpose::body_2d_keypoint/x.py')


def test_one_that_custom_imports_names_is_said_with_what_installs_it(tmp_path, monkeypatch):
    config = tmp_path / 'imports.py'
    config.write_text(f"_base_ = [{STOCK}]\ncustom_imports = dict(imports=['mmpretrain.models'])\n")

    class Missing:
        def find_spec(self, name, *_):
            if name == 'mmpretrain':
                raise ModuleNotFoundError("No module named 'mmpretrain'", name=name)

    monkeypatch.setattr(sys, 'meta_path', [Missing(), *sys.meta_path])
    for name in [name for name in sys.modules if name.partition('.')[0] == 'mmpretrain']:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(UserError, match='mmpretrain.*: mmadapt install cls$'):
        load_config(str(config))
