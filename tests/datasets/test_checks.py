"""Checks at training start: what is missing or does not fit is named with the nearest."""

import json

import pytest
from mmengine.config import Config
from PIL import Image

from mmadapt.datasets import (
    check_classes_match_head,
    check_coco_dataset_cfg,
    check_data,
    check_evaluator_cfg,
)
from mmadapt.datasets.annotation_head import first_file_names, read_category_names
from mmadapt.errors import UserError


@pytest.fixture
def root(tmp_path):
    """A data set of one image with the categories cat and dog."""
    for split in ('train', 'validation'):
        folder = tmp_path / split
        folder.mkdir()
        Image.new('RGB', (8, 8)).save(folder / 'a.jpg')
        (folder / 'annotations_coco.json').write_text(
            json.dumps(
                dict(
                    images=[dict(id=1, file_name='a.jpg', width=8, height=8)],
                    annotations=[
                        dict(id=i, image_id=1, category_id=i, bbox=[0, 0, 8, 8], area=64, iscrowd=0)
                        for i in (4, 7)
                    ],
                    categories=[dict(id=4, name='cat'), dict(id=7, name='dog')],
                )
            )
        )
    return tmp_path


def dataset(root, split='train', classes=('cat', 'dog'), **changes):
    cfg = dict(
        type='CocoDataset',
        data_root=str(root),
        ann_file=f'{split}/annotations_coco.json',
        data_prefix=dict(img=f'{split}/'),
        metainfo=dict(classes=classes),
    )
    cfg.update(changes)
    return cfg


def config(root, num_classes=2, model=None, **changes):
    """A whole config with a train and a val loader."""
    return Config(
        dict(
            model=model or dict(bbox_head=dict(type='RTMDetHead', num_classes=num_classes)),
            train_dataloader=dict(dataset=dataset(root, **changes)),
            val_dataloader=dict(dataset=dataset(root, 'validation')),
            val_evaluator=dict(
                type='CocoMetric', ann_file=f'{root}/validation/annotations_coco.json'
            ),
        )
    )


def test_a_right_config_passes(root):
    check_data(config(root))


def test_a_missing_annotation_file_is_named_with_the_nearest(root):
    cfg = dataset(root, ann_file='train/annotation_coco.json')
    with pytest.raises(UserError) as error:
        check_coco_dataset_cfg(cfg, 'train_dataloader.dataset')
    text = str(error.value)
    assert f'annotation file not found: {root}/train/annotation_coco.json' in text
    assert 'train_dataloader.dataset.ann_file' in text
    assert f'did you mean {root}/train/annotations_coco.json?' in text
    assert 'a.jpg' not in text


def test_a_missing_folder_on_the_way_is_named_with_the_nearest(root):
    message = r'there is no \S+/valdation, .*did you mean \S+/validation'
    with pytest.raises(UserError, match=message):
        check_coco_dataset_cfg(dataset(root, ann_file='valdation/x.json'))


def test_a_missing_image_folder_is_named_with_the_nearest(root):
    message = r'folder not found.*data_prefix.img.*did you mean \S+/train'
    with pytest.raises(UserError, match=message):
        check_coco_dataset_cfg(dataset(root, data_prefix=dict(img='trian/')))


def test_images_under_another_prefix_are_noticed(root):
    message = '1 of the first 1 images .* not in .*, for instance a.jpg'
    with pytest.raises(UserError, match=message):
        check_coco_dataset_cfg(dataset(root, data_prefix=dict(img='')))


@pytest.mark.parametrize(
    'wrap',
    [
        lambda d: dict(type='RepeatDataset', times=2, dataset=d),
        lambda d: dict(type='ConcatDataset', datasets=[d]),
        lambda d: dict(type='MultiImageMixDataset', dataset=dict(type='RepeatDataset', dataset=d)),
        lambda d: [d],
    ],
)
def test_wrapped_data_sets_are_checked_too(root, wrap):
    check_coco_dataset_cfg(wrap(dataset(root)))
    with pytest.raises(UserError, match='annotation file not found'):
        check_coco_dataset_cfg(wrap(dataset(root, ann_file='train/no.json')))
    cfg = config(root, num_classes=3)
    cfg.train_dataloader.dataset = wrap(dataset(root))
    with pytest.raises(UserError, match='num_classes is 3'):
        check_classes_match_head(cfg, ['train'])


def test_remote_data_is_left_alone():
    check_coco_dataset_cfg(dataset('s3://bucket/data'))
    check_coco_dataset_cfg(dataset('data', backend_args=dict(backend='petrel')))


def test_an_evaluator_that_kept_the_stock_path_is_an_error(root):
    cfg = config(root)
    cfg.val_evaluator.ann_file = f'{root}/annotations/instances_val2017.json'
    with pytest.raises(UserError, match=r'val_evaluator.ann_file.*holds train/, validation/'):
        check_data(cfg)


def test_an_evaluator_of_another_split_is_warned_of(root, monkeypatch):
    said = []
    monkeypatch.setattr(
        'mmadapt.datasets.file_checks.print_log', lambda text, **_: said.append(text)
    )
    evaluator = dict(ann_file=f'{root}/train/annotations_coco.json')
    check_evaluator_cfg(evaluator, dataset(root, 'validation'))
    check_evaluator_cfg([evaluator], dataset(root, 'train'))
    assert len(said) == 1
    assert 'set both to the same file' in said[0]


def test_a_head_with_other_classes_names_both_places_and_the_remedy(root):
    with pytest.raises(UserError) as error:
        check_classes_match_head(config(root, num_classes=80))
    text = str(error.value)
    assert 'model.bbox_head.num_classes is 80' in text
    assert 'train_dataloader.dataset.metainfo.classes has 2 classes (cat, dog)' in text
    assert '--cfg-options model.bbox_head.num_classes=2' in text


def test_every_head_of_a_two_stage_model_is_compared(root):
    model = dict(
        backbone=dict(num_classes=1000),
        rpn_head=dict(num_classes=1),
        roi_head=dict(
            bbox_head=[dict(num_classes=2), dict(num_classes=5)],
            mask_head=dict(num_classes=6),
            mask_iou_head=None,
        ),
    )
    with pytest.raises(UserError) as error:
        check_classes_match_head(config(root, model=model))
    text = str(error.value)
    assert 'model.roi_head.bbox_head.1.num_classes=2' in text
    assert 'model.roi_head.mask_head.num_classes=2' in text
    assert 'bbox_head.0' not in text
    assert 'backbone' not in text
    assert 'rpn_head' not in text


def test_heads_without_num_classes_are_left_alone(root):
    check_classes_match_head(config(root, model=dict(rpn_head=dict(type='RPNHead'))))


def test_mask_former_heads_are_compared_by_things(root):
    model = dict(panoptic_head=dict(num_things_classes=80, num_stuff_classes=0))
    with pytest.raises(UserError, match='panoptic_head.num_things_classes is 80'):
        check_classes_match_head(config(root, model=model))


def test_the_validation_data_set_is_compared_too(root):
    cfg = config(root)
    cfg.val_dataloader.dataset.metainfo = dict(classes=('cat',))
    with pytest.raises(UserError, match=r'val_dataloader.dataset.metainfo.classes has 1'):
        check_classes_match_head(cfg)
    check_classes_match_head(cfg, ['train'])


def test_forgotten_metainfo_means_the_class_names_of_coco(root):
    cfg = config(root)
    del cfg.train_dataloader.dataset['metainfo']
    with pytest.raises(UserError, match="names 'person', but .* has no such category"):
        check_classes_match_head(cfg)
    cfg.train_dataloader.dataset.ann_file = ''
    with pytest.raises(UserError, match=r'\(type CocoDataset, no metainfo\) has 80 classes'):
        check_classes_match_head(cfg)


def test_a_misspelled_class_has_no_boxes_and_is_an_error(root):
    with pytest.raises(UserError, match=r"names 'dgo', .*the nearest are 'dog'"):
        check_classes_match_head(config(root, classes=('cat', 'dgo')))


def test_classes_in_another_order_than_the_file_are_an_error(root):
    """The labels follow the file, so the names would be swapped."""
    with pytest.raises(UserError, match=r"write classes=\('cat', 'dog'\)"):
        check_classes_match_head(config(root, classes=('dog', 'cat')))


def test_a_subset_of_the_categories_is_allowed(root):
    cfg = config(root, num_classes=1, classes=('dog',))
    check_classes_match_head(cfg, ['train'])


def test_one_class_without_its_comma_is_an_error(root):
    with pytest.raises(UserError, match='needs a comma'):
        check_classes_match_head(config(root, classes='cat'))


def test_classes_in_capitals_are_an_error(root):
    with pytest.raises(UserError, match='the key is classes'):
        check_classes_match_head(config(root, metainfo=dict(CLASSES=('cat', 'dog'))))


def test_names_are_found_in_files_of_any_shape(tmp_path):
    path = tmp_path / 'a.json'
    names = [f'ein "Käse" {i}' for i in range(3000)]
    data = dict(
        info=dict(description='"categories": [broken'),
        categories=[dict(id=i, name=n, keypoints=['x']) for i, n in enumerate(names)],
        images=[dict(file_name='a "b".jpg'), dict(file_name='é.jpg')],
    )
    for options in (dict(), dict(indent=1), dict(ensure_ascii=False, separators=(',', ':'))):
        path.write_text(json.dumps(data, **options), encoding='utf-8')
        assert read_category_names(path) == names
        assert first_file_names(path) == ['a "b".jpg', 'é.jpg']
        assert first_file_names(path, limit=1) == ['a "b".jpg']


@pytest.mark.parametrize('content', ['', '{"images": []}', '{"categories": [{"id": 1, "na'])
def test_a_file_without_categories_is_an_error(tmp_path, content):
    path = tmp_path / 'a.json'
    path.write_text(content)
    with pytest.raises(UserError, match='no list "categories"'):
        read_category_names(path)
