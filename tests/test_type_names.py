"""A `type` is called the same, however a config writes it: checks see through classes and scopes."""

import pytest
from mmcv.transforms import Resize
from mmengine.hooks import CheckpointHook, EMAHook
from mmengine.model import BaseModule
from mmengine.model.weight_init import PretrainedInit

from mmadapt import UserError
from mmadapt.files.base_weights import pretrained_files
from mmadapt.planning.needs import has_average
from mmadapt.preflight import check_best
from mmadapt.preflight.input_sizes import largest_image
from mmadapt.preflight.peft_hook import hook_names
from mmadapt.recipes.images import drop_downloads
from mmadapt.strategies.asked_run import hooks_of_config
from mmadapt.type_names import type_name


class Average(EMAHook):
    """A hook of somebody's own."""


@pytest.mark.parametrize(
    'kind',
    ['CheckpointHook', 'mmengine.CheckpointHook', 'mmengine.hooks.CheckpointHook', CheckpointHook],
)
def test_a_hook_is_called_by_its_class_and_its_settings_are_checked(kind):
    cfg = dict(default_hooks=dict(checkpoint=dict(type=kind, save_best='coco_panoptic/PQ')))
    assert type_name(kind) == 'CheckpointHook'
    assert hook_names(cfg) == [hook.name for hook in hooks_of_config(cfg)] == ['CheckpointHook']
    assert hooks_of_config(cfg)[0].is_a(CheckpointHook)
    with pytest.raises(UserError, match='Cannot infer the rule'):
        check_best(cfg)


def test_what_has_no_type_has_no_name():
    assert type_name(None) == ''
    assert hook_names(dict(default_hooks=dict(logger=None), custom_hooks=[dict()])) == ['']


@pytest.mark.parametrize('kind', ['Resize', 'mmcv.Resize', Resize])
def test_the_bound_of_a_pipeline_is_that_of_its_classes(kind):
    assert largest_image([dict(type=kind, scale=(96, 64), keep_ratio=False)]) == largest_image(
        [dict(type='Resize', scale=(96, 64), keep_ratio=False)]
    )
    assert largest_image([dict(type=kind, scale=(96, 64), keep_ratio=False)]) is not None


@pytest.mark.parametrize('kind', ['Pretrained', PretrainedInit])
def test_files_to_be_loaded_are_seen_and_dropped_of_several_initializers_too(kind):
    file = dict(type=kind, checkpoint='torchvision://resnet50')
    normal = dict(type='Normal', layer='Conv2d')
    model = dict(backbone=dict(init_cfg=[normal, file]), neck=[dict(init_cfg=file)])
    assert pretrained_files(BaseModule(model['backbone']['init_cfg'])) == [file['checkpoint']]
    drop_downloads(model)
    assert model == dict(backbone=dict(init_cfg=[normal]), neck=[dict(init_cfg=None)])


@pytest.mark.parametrize(('kind', 'has'), [('EMAHook', True), (Average, True), ('NaNHook', False)])
def test_a_plan_counts_the_copy_of_any_hook_that_averages(kind, has):
    assert has_average(dict(custom_hooks=[dict(type=kind)])) is has
