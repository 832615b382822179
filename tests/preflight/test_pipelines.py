"""Transforms and metrics that would do something else than a config says."""

import sys
from types import ModuleType

import pytest
from mmengine.config import Config
from mmengine.hub import get_config

from mmadapt.errors import UserError
from mmadapt.preflight import check_arguments
from mmadapt.preflight.pipelines import check_transforms


def masked(*types):
    load = dict(type='LoadAnnotations', with_bbox=True, with_mask=True)
    return Config(
        dict(
            default_scope='mmdet',
            train_dataloader=dict(
                dataset=dict(
                    type='MultiImageMixDataset',
                    dataset=dict(type='CocoDataset', pipeline=[load]),
                    pipeline=[dict(type=kind, img_scale=(64, 64)) for kind in types],
                )
            ),
        )
    )


def test_what_does_not_carry_masks_along_is_refused():
    with pytest.raises(UserError, match=r'pipeline\.0\.type=.Mosaic.*write CachedMosaic'):
        check_arguments(masked('Mosaic'), ['train'])
    with pytest.raises(UserError, match='write CachedMixUp'):
        check_arguments(masked('MixUp'), ['train'])
    check_arguments(masked('CachedMosaic', 'CachedMixUp'), ['train'])


LOAD = dict(type='LoadAnnotations', with_bbox=True, with_mask=True)
AFFINE = dict(type='RandomAffine')


def leaf(*steps):
    return dict(type='CocoDataset', pipeline=[*steps])


def said(dataset, **keys):
    cfg = Config(dict(default_scope='mmdet', train_dataloader=dict(dataset=dataset), **keys))
    with pytest.raises(UserError) as refused:
        check_arguments(cfg, ['train'])
    return str(refused.value).splitlines()


@pytest.mark.parametrize(
    ('step', 'place'),
    [
        (dict(type='RandomChoice', transforms=[[dict(type='RandomFlip')], [AFFINE]]), '1.0'),
        (dict(type='RandomApply', transforms=AFFINE), ''),
        (dict(type='RandomApply', transforms=[AFFINE]), '0'),
        (dict(type='RandomChoice', transforms=[[dict(type='Compose', transforms=[AFFINE])]]), ''),
        (dict(type='TransformBroadcaster', transforms=[AFFINE]), '0'),
    ],
)
def test_transforms_within_others_are_looked_at(step, place):
    (line,) = said(leaf(LOAD, step))
    assert line.startswith(f'train_dataloader.dataset.pipeline.1.transforms.{place}')
    assert ".type='RandomAffine' ends the run" in line


def test_masks_are_a_matter_of_the_data_set_that_loads_them():
    boxes = leaf(dict(LOAD, with_mask=False), AFFINE)
    both = dict(type='ConcatDataset', datasets=[leaf(LOAD), boxes])
    check_arguments(
        Config(dict(default_scope='mmdet', train_dataloader=dict(dataset=both))), ['train']
    )
    both['datasets'].append(leaf(LOAD, AFFINE))
    (line,) = said(both)
    assert line.startswith('train_dataloader.dataset.datasets.2.pipeline.1.type')
    # What is around both is gone through by both.
    (line,) = said(
        dict(
            type='MultiImageMixDataset',
            pipeline=[AFFINE],
            dataset=both | dict(datasets=both['datasets'][:2]),
        )
    )
    assert line.startswith('train_dataloader.dataset.pipeline.0.type')


def test_the_pipeline_that_a_hook_switches_to_is_looked_at():
    """MMDetection gives it to the outermost data set, in the place of that one's own."""
    hook = dict(type='PipelineSwitchHook', switch_epoch=1, switch_pipeline=[LOAD, AFFINE])
    (line,) = said(leaf(LOAD), custom_hooks=[dict(type='SyncNormHook'), hook])
    assert line.startswith('custom_hooks.1.switch_pipeline.1.type')
    mixed = dict(type='MultiImageMixDataset', pipeline=[], dataset=leaf(LOAD))
    (line,) = said(mixed, custom_hooks=[dict(hook, switch_pipeline=[AFFINE])])
    assert line.startswith('custom_hooks.0.switch_pipeline.0.type')
    plain = dict(default_scope='mmdet', train_dataloader=dict(dataset=leaf(LOAD)))
    boxes = dict(hook, switch_pipeline=[dict(LOAD, with_mask=False), AFFINE])
    check_arguments(Config(dict(plain, custom_hooks=[boxes])), ['train'])
    check_arguments(Config(dict(plain, custom_hooks=[hook])), ['val'])


def test_a_data_set_that_a_hook_changes_to_is_looked_at():
    hook = dict(type='YOLOXPoseModeSwitchHook', new_train_dataset=leaf(LOAD, AFFINE))
    cfg = Config(dict(train_dataloader=dict(dataset=leaf(LOAD)), custom_hooks=[hook]))
    (line,) = check_transforms(cfg, ['train'])
    assert line.startswith('custom_hooks.0.new_train_dataset.pipeline.1.type')
    hook['new_train_pipeline'] = [LOAD]
    assert [*check_transforms(Config(dict(cfg, custom_hooks=[hook])), ['train'])] == []


def test_of_a_real_mosaic_masks_and_boxes_differ_in_number():
    """What the check is for: MMDetection joins four images' boxes and keeps one image's masks."""
    import numpy as np
    from mmdet.datasets.transforms import Mosaic
    from mmdet.structures.bbox import HorizontalBoxes
    from mmdet.structures.mask import BitmapMasks

    def image():
        return dict(
            img=np.zeros((64, 64, 3), np.uint8),
            img_shape=(64, 64),
            gt_bboxes=HorizontalBoxes(np.array([[4, 4, 40, 40]], np.float32)),
            gt_bboxes_labels=np.array([0]),
            gt_ignore_flags=np.array([False]),
            gt_masks=BitmapMasks(np.ones((1, 64, 64), np.uint8), 64, 64),
        )

    np.random.seed(0)
    mosaic = Mosaic(img_scale=(64, 64), prob=1.0, bbox_clip_border=True)
    joined = mosaic(dict(image(), mix_results=[image() for _ in range(3)]))
    assert len(joined['gt_bboxes']) > len(joined['gt_masks']) == 1


@pytest.mark.parametrize(
    'name',
    [
        'mmdet::yolox/yolox_tiny_8xb8-300e_coco.py',
        'mmdet::rtmdet/rtmdet-ins_tiny_8xb32-300e_coco.py',
        'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
    ],
)
def test_stock_configs_pass(name):
    check_arguments(get_config(name), ['train', 'val', 'test'])


def albu(*transforms):
    return Config(
        dict(
            default_scope='mmdet',
            train_dataloader=dict(
                dataset=dict(pipeline=[dict(type='Albu', transforms=[*transforms])])
            ),
        )
    )


class CoarseDropout:
    """As of version 2: other names than in version 1."""

    def __init__(self, num_holes_range=(1, 2), p=0.5):
        pass


@pytest.fixture
def version_two(monkeypatch):
    library = ModuleType('albumentations')
    library.__version__ = '2.0.8'
    library.CoarseDropout = CoarseDropout
    monkeypatch.setitem(sys.modules, 'albumentations', library)
    monkeypatch.setattr('mmadapt.preflight.pipelines.find_spec', lambda name: library)


def test_arguments_that_albumentations_would_ignore_are_named(version_two):
    check_arguments(albu(dict(type='CoarseDropout', p=1.0)), ['train'])
    with pytest.raises(UserError) as refused:
        check_arguments(
            albu(dict(type='CoarseDropout', max_holes=8), dict(type='JpegCompression')), ['train']
        )
    lines = str(refused.value).splitlines()
    assert 'CoarseDropout of albumentations 2.0.8 does not take max_holes, and would' in lines[0]
    assert 'it takes num_holes_range, p' in lines[0]
    assert "transforms.1.type='JpegCompression': albumentations 2.0.8 has no such" in lines[1]


def test_mmpose_does_not_know_version_two(version_two):
    step = dict(type='Albumentation', transforms=[dict(type='CoarseDropout')])
    cfg = Config(dict(train_dataloader=dict(dataset=dict(pipeline=[step]))))
    with pytest.raises(UserError, match='only versions below 2: mmadapt install pose'):
        check_arguments(cfg, ['train'])


def test_a_step_of_albumentations_without_it_is_one_line(monkeypatch):
    monkeypatch.setattr('mmadapt.preflight.pipelines.find_spec', lambda name: None)
    with pytest.raises(UserError, match='needs albumentations, .*: mmadapt install pose, or take'):
        check_arguments(albu(dict(type='CoarseDropout')), ['train'])


def test_figures_of_boxes_and_masks_under_one_name_are_said(monkeypatch):
    said = []
    monkeypatch.setattr('mmadapt.preflight.evaluators.warn', said.append)
    metric = dict(type='CocoMetric', ann_file='a.json', metric=['bbox', 'segm'], classwise=True)
    check_arguments(Config(dict(default_scope='mmdet', val_evaluator=metric)), ['val'])
    (line,) = said
    assert line.startswith('val_evaluator: classwise=True with')
    for change in (dict(classwise=False), dict(metric='bbox'), dict(metric=['bbox'])):
        check_arguments(
            Config(dict(default_scope='mmdet', val_evaluator=dict(metric, **change))), ['val']
        )
    assert len(said) == 1


def test_an_lvis_that_reads_what_numpy_has_no_more_is_said_before_the_run(tmp_path, monkeypatch):
    (tmp_path / 'lvis').mkdir()
    (tmp_path / 'lvis' / '__init__.py').touch()
    (tmp_path / 'lvis' / 'eval.py').write_text('x = np.cumsum(tps, axis=1).astype(dtype=np.float)')
    monkeypatch.syspath_prepend(tmp_path)
    cfg = Config(dict(default_scope='mmdet', val_evaluator=[dict(type='LVISMetric')]))
    with pytest.raises(
        UserError, match=r'val_evaluator\.0\.type=.LVISMetric.*numpy\.float = float'
    ):
        check_arguments(cfg, ['val'])
    (tmp_path / 'lvis' / 'eval.py').write_text('x = np.cumsum(tps, axis=1).astype(dtype=float)')
    check_arguments(cfg, ['val'])
