"""Boxes that MMDetection never trains on: told from the others as MMDetection does it."""

import json

import pytest
from coco_files import SQUARE, box, coco, write_export, write_split
from mmengine.config import Config

from mmadapt.datasets import check_data, read_export
from mmadapt.datasets.coco_fix import fix_annotations
from mmadapt.datasets.training_use import CROWD, IGNORED, OUTSIDE, TINY, why_untrained
from mmadapt.errors import UserError

KINDS = dict(
    plain=({}, None),
    crowd=(dict(iscrowd=1), CROWD),
    crowd_true=(dict(iscrowd=True), CROWD),
    crowd_as_text=(dict(iscrowd='0'), CROWD),
    crowd_null=(dict(iscrowd=None), None),
    ignore=(dict(ignore=1), IGNORED),
    ignore_as_text=(dict(ignore='0'), IGNORED),
    ignore_0=(dict(ignore=0), None),
    both=(dict(ignore=1, iscrowd=1), IGNORED),
    narrow=(dict(bbox=[4, 4, 0.9, 20]), TINY),
    low=(dict(bbox=[4, 4, 20, 0.9]), TINY),
    a_pixel=(dict(bbox=[4, 4, 1, 1]), None),
    without_area=(dict(area=0), TINY),
    negative_area=(dict(area=-3), TINY),
    right_of=(dict(bbox=[64, 4, 20, 20]), OUTSIDE),
    above=(dict(bbox=[4, -20, 20, 20]), OUTSIDE),
    half_outside=(dict(bbox=[50, 40, 20, 20]), None),
)


@pytest.mark.parametrize('kind', KINDS)
def test_what_is_trained_on_is_what_mmdetection_trains_on(kind, tmp_path):
    from mmdet.datasets import CocoDataset

    changes, expected = KINDS[kind]
    annotation, content = box(7, **changes), coco([])
    path = write_split(tmp_path, dict(content, annotations=[annotation]))
    dataset = CocoDataset(
        ann_file=str(path),
        metainfo=dict(classes=('cat', 'dog')),
        data_prefix=dict(img=str(tmp_path)),
        pipeline=[],
    )
    instances = dataset.get_data_info(0)['instances']
    trained = [i for i in instances if not i['ignore_flag']]
    assert why_untrained(annotation, content['images'][0]) == expected
    assert bool(trained) == (expected is None)


def config(root, **evaluator):
    """A config of a box detector on an export."""

    def data(split):
        return dict(
            type='CocoDataset',
            data_root=str(root),
            data_prefix=dict(img=f'{split}/'),
            ann_file=f'{split}/annotations_coco.json',
            metainfo=dict(classes=('cat', 'dog')),
            test_mode=split != 'train',
        )

    return Config(
        dict(
            model=dict(bbox_head=dict(type='RTMDetHead', num_classes=2)),
            train_dataloader=dict(dataset=data('train')),
            val_dataloader=dict(dataset=data('validation')),
            val_evaluator=dict(
                type='CocoMetric',
                metric='bbox',
                ann_file=f'{root}/validation/annotations_coco.json',
                **evaluator,
            ),
        )
    )


def brush_masks(count=6):
    return [box(i, category=1 + i % 2, iscrowd=1) for i in range(1, count + 1)]


def test_boxes_marked_iscrowd_are_no_boxes_and_training_does_not_start(tmp_path):
    root = write_export(tmp_path, brush_masks())
    export = read_export(root)
    text = '\n'.join(export.problems.lines())
    assert 'error: nothing else than boxes that are left out: the whole split: 6 marked' in text
    assert export.splits['train'].class_counts.total() == 0
    message = r'none of its 6 boxes is trained on: 6 marked iscrowd; .* --fix-ignored'
    with pytest.raises(UserError, match=message):
        check_data(config(root))


def test_a_class_that_has_nothing_else_is_an_error(tmp_path):
    root = write_export(
        tmp_path, [box(1), box(2, category=2, ignore=1), box(3, category=2, iscrowd=1)]
    )
    text = '\n'.join(read_export(root).problems.lines())
    assert "'dog': 1 marked ignore, 1 marked iscrowd" in text
    assert 'whole split' not in text
    with pytest.raises(UserError, match="no box of the class 'dog' is trained on: 1 marked ign"):
        check_data(config(root))


def test_a_class_is_trained_on_if_another_data_set_of_the_run_has_boxes_of_it(tmp_path):
    root = write_export(tmp_path / 'a', [box(1), box(2, category=2, iscrowd=1)])
    other = write_export(tmp_path / 'b', [box(1, category=2)])
    cfg = config(root)
    cfg.train_dataloader.dataset = dict(
        type='ConcatDataset',
        datasets=[cfg.train_dataloader.dataset, config(other).train_dataloader.dataset],
    )
    check_data(cfg)
    content = other / 'train' / 'annotations_coco.json'
    content.write_text(content.read_text().replace('"iscrowd": 0', '"iscrowd": 1'))
    with pytest.raises(UserError, match=r"a/train/\S+, \S+b/train/\S+: no box of the class 'dog'"):
        check_data(cfg)


def test_a_data_set_without_labels_may_stand_beside_one_with_them(tmp_path):
    """As for semi-supervised training; and a data set of another kind may have what one lacks."""
    root = write_export(tmp_path, [box(1), box(2, category=2)])
    path = root / 'validation' / 'annotations_coco.json'
    content = json.loads(path.read_text())
    del content['annotations']
    path.write_text(json.dumps(content))
    cfg = config(root, format_only=True)
    labeled, bare = cfg.train_dataloader.dataset, dict(cfg.val_dataloader.dataset)
    cfg.train_dataloader.dataset = dict(type='ConcatDataset', datasets=[labeled, bare])
    check_data(cfg)
    with pytest.raises(UserError, match='nothing to train on'):
        check_data(Config(dict(cfg, train_dataloader=dict(dataset=bare))))
    other = dict(type='XMLDataset', metainfo=dict(classes=('cat', 'dog')))
    check_data(Config(dict(cfg, train_dataloader=dict(dataset=[bare, other]))))


def test_a_split_to_evaluate_that_has_nothing_else_is_an_error(tmp_path):
    root = write_export(tmp_path, [box(1), box(2, category=2)], brush_masks())
    assert 'whole split: 6 marked iscrowd' in '\n'.join(read_export(root).problems.lines())
    with pytest.raises(UserError, match='all 6 boxes are marked iscrowd; .*every AP would be -1'):
        check_data(config(root))
    # Results of a test split without annotations are written, not evaluated.
    check_data(config(root, format_only=True))


def test_some_of_them_are_shown_apart_and_training_says_how_many(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(
        'mmadapt.datasets.content_checks.print_log', lambda text, **_: said.append(text)
    )
    root = write_export(
        tmp_path,
        [
            box(1),
            box(2, category=2),
            box(3, iscrowd=1),
            box(4, bbox=[4, 4, 20, 0.5]),
            box(5, ignore=1),
        ],
    )
    export = read_export(root)
    train = export.splits['train']
    assert not export.problems.has_errors
    assert dict(train.class_counts) == dict(cat=1, dog=1)
    assert set(train.left_out['cat']) == {CROWD, IGNORED, TINY}
    check_data(config(root))
    assert len(said) == 1
    assert '3 of 5 boxes are not trained on' in said[0]


def test_the_marks_are_taken_away_only_on_request():
    content = coco([box(1, iscrowd=1, segmentation=SQUARE), box(2, ignore=1)])
    fixed, done = fix_annotations(content, content['categories'])
    assert (fixed, done) == (content, [])
    fixed, done = fix_annotations(content, content['categories'], single_objects=True)
    assert [why_untrained(a, content['images'][0]) for a in fixed['annotations']] == [None, None]
    assert len(done) == 2


def test_marks_written_as_text_become_numbers(tmp_path):
    """MMDetection and pycocotools take the text 0 for a mark."""
    root = write_export(
        tmp_path, [box(1, iscrowd='0'), box(2, category=2, ignore='false'), box(3, iscrowd='1')]
    )
    with pytest.raises(UserError, match='none of its 3 boxes is trained on'):
        check_data(config(root))
    export = read_export(root)
    assert all(kind.fixable for kind in export.problems.kinds('error'))
    assert 'iscrowd or ignore that is neither 0 nor 1 (3)' in '\n'.join(export.problems.lines())
    data = export.splits['train'].data
    fixed, _ = fix_annotations(data, data['categories'])
    assert [a['iscrowd'] for a in fixed['annotations']] == [0, 0, 1]
    assert fixed['annotations'][1]['ignore'] == 0


@pytest.mark.parametrize('key', ['image_id', 'category_id', 'bbox', 'area'])
def test_a_key_at_which_mmdetection_stops_is_named(tmp_path, key):
    root = write_export(tmp_path, [box(1), box(2, category=2), box(3, **{key: None})])
    with pytest.raises(UserError, match=f'annotations without {key}, .* id 3; .*--fix'):
        check_data(config(root))


@pytest.mark.parametrize('key', ['iscrowd', 'area'])
def test_a_key_at_which_the_evaluation_stops_is_named(tmp_path, key):
    root = write_export(
        tmp_path, [box(1), box(2, category=2)], [box(1), box(2, category=2, **{key: None})]
    )
    with pytest.raises(UserError, match=f'validation/.* annotations without {key}'):
        check_data(config(root))


def test_a_box_that_is_none_is_named(tmp_path):
    root = write_export(tmp_path, [box(1), box(2, category=2), box(3, bbox=[4, 4])])
    with pytest.raises(UserError, match='bbox of annotation 3 is .4, 4., not four numbers'):
        check_data(config(root))


def test_annotations_of_unlisted_images_are_no_boxes(tmp_path):
    root = write_export(tmp_path, [box(i, image=str(i)) for i in (1, 2)])
    with pytest.raises(UserError, match='no annotation of a listed .*, 2 belong to images that'):
        check_data(config(root))


@pytest.mark.parametrize(
    ('filter_cfg', 'indices', 'message'),
    [
        (
            dict(min_size=50),
            3,
            r'of the 3 images of .*min_size=50 removes 3, for instance of 64 x 48',
        ),
        (
            dict(min_size=50, filter_empty_gt=True),
            3,
            'filter_empty_gt=True removes 1 without a box of the classes and min_size=50 removes 3',
        ),
    ],
)
def test_nothing_left_by_the_filter_is_one_line_with_the_numbers(
    tmp_path, filter_cfg, indices, message
):
    root = write_export(tmp_path, [box(1), box(2, image=2, category=2)], images=indices)
    cfg = config(root)
    cfg.train_dataloader.dataset.filter_cfg = filter_cfg
    with pytest.raises(UserError, match=message):
        check_data(cfg)
    # A data set in test mode is not filtered.
    cfg.train_dataloader.dataset.test_mode = True
    check_data(cfg)


def test_a_split_without_images_is_one_line(tmp_path):
    root = write_export(tmp_path, [box(1), box(2, category=2)])
    path = root / 'validation' / 'annotations_coco.json'
    path.write_text(json.dumps(coco([], images=0)))
    with pytest.raises(UserError, match='lists no images'):
        check_data(config(root))


def test_an_annotation_with_id_0_is_said_where_it_is_evaluated(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(
        'mmadapt.datasets.evaluation_checks.print_log', lambda text, **_: said.append(text)
    )
    boxes = [box(0), box(1, category=2)]
    check_data(config(write_export(tmp_path, boxes, boxes)))
    assert len(said) == 1
    assert 'validation/annotations_coco.json (val_evaluator): an annotation has id 0' in said[0]


def test_images_of_more_boxes_than_the_map_looks_at_are_said(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(
        'mmadapt.datasets.evaluation_checks.print_log', lambda text, **_: said.append(text)
    )
    many = [box(i, category=1 + i % 2) for i in range(1, 102)]
    root = write_export(tmp_path, many, [*many, box(102, image=2)])
    assert '1.png: 101 boxes' in '\n'.join(read_export(root).problems.lines())
    check_data(config(root))
    assert len(said) == 1
    assert '1 images have more than 100 boxes, up to 101' in said[0]
