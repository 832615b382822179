"""Masks: what is refused at the start is what MMDetection and pycocotools stop at or ignore."""

import copy

import numpy as np
import pytest
import torch
from coco_files import RUNS, SIDE, SQUARE, box, coco, write_export
from mmengine.config import Config
from mmengine.registry import init_default_scope
from pycocotools import mask as run_lengths

from mmadapt.datasets import check_data, read_export
from mmadapt.datasets.coco_fix import fix_annotations
from mmadapt.datasets.masks import good_parts, mask_fault
from mmadapt.errors import UserError

IMAGE = dict(width=SIDE[0], height=SIDE[1])
TRUTH = np.zeros((48, 64), np.uint8)
TRUTH[4:24, 4:24] = 1
ENCODED = run_lengths.encode(np.asfortranarray(TRUTH))
ENCODED['counts'] = ENCODED['counts'].decode()
TWO_POINTS = [4, 4, 20, 20]
# Seen from the start of a run: what is wrong is in the form of the mask.
FORMS = dict(
    good=SQUARE,
    runs=RUNS,
    encoded=ENCODED,
    none=None,
    empty=[],
    empty_part=[[]],
    one=[[4, 4]],
    two=[TWO_POINTS],
    two_first=[TWO_POINTS, *SQUARE],
    two_second=[*SQUARE, TWO_POINTS],
    odd=[SQUARE[0] + [5]],
    odd_second=[*SQUARE, SQUARE[0] + [5]],
    flat=SQUARE[0],
    text=[['a'] * 8],
    pairs=[[[4, 4], [24, 4], [24, 24], [4, 24], [5, 5], [6, 6]]],
    no_polygon='x',
    swapped=dict(RUNS, size=[64, 48]),
    swapped_encoded=dict(ENCODED, size=[64, 48]),
    no_counts=dict(size=[48, 64]),
)
# Seen only where the coordinates are looked at, which for a large file takes long.
CLOSE_FORMS = dict(
    nan=[[float('nan')] * 8],
    outside=[[100, 9, 120, 9, 120, 20]],
    line=[[4, 4, 8, 8, 12, 12]],
    garbage=dict(ENCODED, counts='!!zz'),
    too_short=dict(RUNS, counts=[0, 100]),
    nowhere=dict(RUNS, counts=[48 * 64]),
)
KEEPS = dict(
    good=SQUARE,
    runs=RUNS,
    encoded=ENCODED,
    two_first=SQUARE,
    two_second=SQUARE,
    odd_second=SQUARE,
    flat=SQUARE,
)


def content(form):
    mask = {} if form is None else dict(segmentation=copy.deepcopy(form))
    return [box(1, segmentation=SQUARE), box(2, category=2, **mask)]


def config(root, poly2mask=True, loads=True, metric='bbox'):
    init_default_scope('mmdet')
    load = dict(type='LoadAnnotations', with_bbox=True)
    if loads:
        load.update(with_mask=True, poly2mask=poly2mask)

    def data(split):
        return dict(
            type='CocoDataset',
            data_root=str(root),
            data_prefix=dict(img=f'{split}/'),
            ann_file=f'{split}/annotations_coco.json',
            test_mode=split != 'train',
            metainfo=dict(classes=('cat', 'dog')),
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='RandomApply', transforms=[load]),
                dict(type='PackDetInputs'),
            ],
        )

    val = data('validation')
    val['pipeline'] = []
    return Config(
        dict(
            model=dict(roi_head=dict(bbox_head=dict(num_classes=2), mask_head=dict(num_classes=2))),
            train_dataloader=dict(dataset=data('train')),
            val_dataloader=dict(dataset=val),
            val_evaluator=dict(
                type='CocoMetric',
                metric=metric,
                ann_file=f'{root}/validation/annotations_coco.json',
            ),
        )
    )


def trains(cfg):
    """Whether MMDetection trains both objects on a mask."""
    from mmdet.registry import DATASETS

    dataset = copy.deepcopy(cfg.train_dataloader.dataset)
    dataset.pipeline[1] = dataset.pipeline[1].transforms[0]
    try:
        instances = DATASETS.build(dataset)[0]['data_samples'].gt_instances
        return len(instances) == 2 and all(area > 0 for area in instances.masks.areas)
    except (KeyError, TypeError, ValueError):
        return False


def evaluates(cfg):
    """Whether MMDetection evaluates the masks."""
    from mmdet.registry import METRICS

    metric = METRICS.build(cfg.val_evaluator)
    metric.dataset_meta = dict(classes=('cat', 'dog'))
    found = dict(
        bboxes=torch.tensor([[4.0, 4.0, 24.0, 24.0]] * 2),
        scores=torch.tensor([0.9, 0.8]),
        labels=torch.tensor([0, 1]),
        masks=torch.tensor(np.stack([TRUTH] * 2)).bool(),
    )
    metric.process({}, [dict(pred_instances=found, img_id=1, ori_shape=(48, 64))])
    try:
        metric.evaluate(1)
    except Exception:  # pycocotools raises plain ones
        return False
    return True


def is_refused(cfg):
    try:
        check_data(cfg)
    except UserError:
        return True
    return False


@pytest.mark.parametrize('poly2mask', [True, False])
@pytest.mark.parametrize('form', FORMS)
def test_training_is_refused_where_mmdetection_trains_no_mask(form, poly2mask, tmp_path, capsys):
    cfg = config(write_export(tmp_path, content(FORMS[form]), images=1), poly2mask)
    assert is_refused(cfg) != trains(cfg)


@pytest.mark.parametrize('form', FORMS)
def test_evaluation_is_refused_where_pycocotools_stops(form, tmp_path, capsys):
    root = write_export(tmp_path, content(SQUARE), content(FORMS[form]), images=1)
    cfg = config(root, metric=['bbox', 'segm'])
    # Swapped run lengths do not stop it: it evaluates other masks, without a word.
    expected = evaluates(cfg) and not form.startswith('swapped')
    assert is_refused(cfg) != expected
    # Boxes are trained and evaluated with any of them.
    check_data(config(root, loads=False))


@pytest.mark.parametrize('form', [*FORMS, *CLOSE_FORMS])
def test_the_fix_drops_what_is_bad_and_invents_nothing(form, tmp_path, capsys):
    mask = copy.deepcopy({**FORMS, **CLOSE_FORMS}[form])
    assert (mask_fault(mask, IMAGE) is None) == (form in ('good', 'runs', 'encoded'))
    assert good_parts(mask, IMAGE) == KEEPS.get(form)
    fixed, _ = fix_annotations(coco(content(mask)), coco([])['categories'])
    boxes = fixed['annotations']
    assert [a['bbox'] for a in boxes] == [[4, 4, 20, 20]] * 2
    assert (boxes[1].get('segmentation') or None) == KEEPS.get(form)
    if form in KEEPS:
        cfg = config(write_export(tmp_path, boxes, boxes, images=1), metric=['bbox', 'segm'])
        assert trains(cfg)
        assert evaluates(cfg)


def test_an_object_marked_iscrowd_may_have_run_lengths_without_polygons(tmp_path):
    """COCO's own crowds have; MMDetection ignores them in training either way."""
    train = [
        box(1, segmentation=SQUARE),
        box(2, category=2, segmentation=SQUARE),
        box(3, iscrowd=1, segmentation=RUNS),
    ]
    cfg = config(write_export(tmp_path, train), poly2mask=False)
    check_data(cfg)
    train[2].pop('segmentation')
    with pytest.raises(UserError, match='stops at 1 of the 3 annotations .*annotation 3: no mask'):
        check_data(config(write_export(tmp_path, train), poly2mask=False))


def test_the_pipeline_that_a_hook_switches_to_is_looked_at(tmp_path):
    cfg = config(write_export(tmp_path, content(None)), loads=False)
    check_data(cfg)
    cfg.custom_hooks = [
        dict(
            type='PipelineSwitchHook',
            switch_pipeline=[dict(type='mmdet.LoadAnnotations', with_mask=True)],
        )
    ]
    with pytest.raises(UserError, match='stops at 1 of the 2 annotations'):
        check_data(cfg)


def test_masks_in_an_evaluation_of_a_model_of_boxes_are_refused(tmp_path):
    """MMDetection says KeyError: 'segm is not in results' at the end of the first validation."""
    cfg = config(write_export(tmp_path, content(SQUARE)), loads=False, metric=['bbox', 'segm'])
    check_data(cfg, ['train'])
    cfg.model = dict(data_preprocessor=dict(pad_mask=True), bbox_head=dict(num_classes=2))
    with pytest.raises(UserError, match='nothing in `model` predicts any.*val_evaluator.metric=b'):
        check_data(cfg)


def test_every_stock_model_that_is_evaluated_on_masks_is_seen_to_predict_them():
    from pathlib import Path

    import mmdet

    from mmadapt.datasets.evaluation_checks import _predicts_masks

    folder = Path(mmdet.__file__).parent / '.mim' / 'configs'
    for name in (
        'mask_rcnn/mask-rcnn_r50_fpn_1x_coco',
        'solo/solo_r50_fpn_1x_coco',
        'rtmdet/rtmdet-ins_tiny_8xb32-300e_coco',
        'yolact/yolact_r50_1xb8-55e_coco',
        'boxinst/boxinst_r50_fpn_ms-90k_coco',
        'queryinst/queryinst_r50_fpn_1x_coco',
        'mask2former/mask2former_r50_8xb2-lsj-50e_coco',
        'htc/htc_r50_fpn_1x_coco',
        'condinst/condinst_r50_fpn_ms-poly-90k_coco_instance',
    ):
        assert _predicts_masks(Config.fromfile(folder / f'{name}.py').model), name
    for name in (
        'rtmdet/rtmdet_tiny_8xb32-300e_coco',
        'dino/dino-4scale_r50_8xb2-12e_coco',
        'faster_rcnn/faster-rcnn_r50_fpn_1x_coco',
        'yolox/yolox_s_8xb8-300e_coco',
    ):
        assert not _predicts_masks(Config.fromfile(folder / f'{name}.py').model), name


def test_masks_are_counted_and_said_only_where_a_file_has_any(tmp_path):
    boxes_only = read_export(
        write_export(tmp_path / 'a', [box(1, segmentation=[]), box(2, category=2)])
    )
    kinds = boxes_only.problems.kinds()
    assert not any('mask' in kind.title for kind in kinds)
    mixed = read_export(
        write_export(
            tmp_path / 'b',
            [
                box(1, segmentation=SQUARE),
                box(2, category=2),
                box(3, segmentation=[TWO_POINTS]),
                box(4, segmentation=[TWO_POINTS, *SQUARE]),
            ],
        )
    )
    text = '\n'.join(mixed.problems.lines())
    assert not mixed.problems.has_errors
    assert 'annotations without a mask among others that have one: 1.png' in text
    assert 'masks that are not usable or not in all their parts (2)' in text
    assert text.count('and nothing else') == 1
