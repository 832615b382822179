"""Ids that are text or floats, and file names of other systems: recognized, and mended by --fix."""

import json

import pytest
import torch
from coco_files import box, coco, write_export, write_split
from mmengine.config import Config

from mmadapt.datasets import check_coco_dataset_cfg, check_data, read_export
from mmadapt.datasets.coco_fix import write_fixed
from mmadapt.datasets.coco_ids import NOT_FOUND, NOT_WHOLE, whole_ids
from mmadapt.datasets.problems import Problems
from mmadapt.errors import UserError

CLASSES = ('cat', 'dog')


def content(image_id, named=None, category=int, number=int):
    """Two images, each with a box of each class; ids are written by the functions given."""
    named = named or image_id
    data = coco(
        [
            dict(
                box(number(10 * i + c), image=named(i), category=category(c)),
                bbox=[4 * i, 4 * c, 20, 20],
            )
            for i in (1, 2)
            for c in (1, 2)
        ]
    )
    for image in data['images']:
        image['id'] = image_id(image['id'])
    for entry in data['categories']:
        entry['id'] = category(entry['id'])
    return data


def export(tmp_path, train, val=None):
    write_split(tmp_path / 'train', train, seed=5)
    write_split(tmp_path / 'validation', val or train, seed=55)
    return tmp_path


def mmdetection_reads(path, images):
    """How many boxes MMDetection trains on, and the AP of perfect detections."""
    from mmdet.datasets import CocoDataset
    from mmdet.evaluation import CocoMetric

    dataset = CocoDataset(
        ann_file=str(path),
        metainfo=dict(classes=CLASSES),
        data_prefix=dict(img=str(images)),
        pipeline=[],
    )
    metric = CocoMetric(ann_file=str(path))
    metric.dataset_meta = dataset.metainfo
    boxes = 0
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        found = info['instances']
        boxes += len(found)
        metric.process(
            {},
            [
                dict(
                    img_id=info['img_id'],
                    ori_shape=(48, 64),
                    pred_instances=dict(
                        bboxes=torch.tensor([i['bbox'] for i in found]).float().reshape(-1, 4),
                        labels=torch.tensor([i['bbox_label'] for i in found], dtype=torch.long),
                        scores=torch.ones(len(found)),
                    ),
                )
            ],
        )
    return boxes, metric.evaluate(len(dataset))['coco/bbox_mAP']


TEXT = dict(
    text=(lambda i: f'image {i}', None),
    numeric_text=(str, None),
    floats=(float, None),
    named_by_number=(str, int),
    named_by_text=(int, str),
    named_by_float=(int, float),
)


@pytest.mark.parametrize('kind', TEXT)
def test_image_ids_of_any_form_are_read_and_mended(kind, tmp_path, capsys):
    image_id, named = TEXT[kind]
    root = export(tmp_path, content(image_id, named))
    works = kind in ('text', 'numeric_text', 'floats', 'named_by_float')
    path = root / 'train' / 'annotations_coco.json'
    if works:
        # The others belong to no image: MMDetection trains on nothing.
        assert mmdetection_reads(path, root / 'train') == (4, 1.0)
    found = read_export(root)
    assert dict(found.splits['train'].class_counts) == dict(cat=2, dog=2)
    assert found.problems.has_errors == (not works)
    copies = {split.name: path for split, path, _ in write_fixed(found)}
    assert mmdetection_reads(copies['train'], root / 'train') == (4, 1.0)
    fixed = read_export(root, {n: str(p.relative_to(root)) for n, p in copies.items()})
    assert {NOT_WHOLE, NOT_FOUND}.isdisjoint(fixed.problems.kinds())
    assert (NOT_WHOLE if works else NOT_FOUND) in found.problems.kinds()


@pytest.mark.parametrize(
    'changes',
    [
        dict(category=str),
        dict(category=float),
        dict(category=lambda c: f'class {c}'),
        dict(number=str),
        dict(number=float),
        dict(number=lambda i: f'box {i}'),
    ],
)
def test_ids_of_categories_and_annotations_too(changes, tmp_path, capsys):
    root = export(tmp_path, content(int, **changes))
    path = root / 'train' / 'annotations_coco.json'
    found = read_export(root)
    if found.problems.has_errors:
        with pytest.raises(ValueError, match='could not convert string to float'):
            mmdetection_reads(path, root / 'train')
    else:
        assert mmdetection_reads(path, root / 'train') == (4, 1.0)
    assert dict(found.splits['train'].class_counts) == dict(cat=2, dog=2)
    copies = {split.name: path for split, path, _ in write_fixed(found)}
    assert mmdetection_reads(copies['train'], root / 'train') == (4, 1.0)


def test_training_starts_with_ids_that_mmdetection_takes(tmp_path):
    root = export(tmp_path, content(str))
    loader = dict(
        dataset=dict(
            type='CocoDataset',
            data_root=str(root),
            ann_file='train/annotations_coco.json',
            data_prefix=dict(img='train/'),
            metainfo=dict(classes=CLASSES),
        )
    )
    check_data(Config(dict(model=dict(bbox_head=dict(num_classes=2)), train_dataloader=loader)))


def test_whole_numbers_stay_and_an_unlisted_image_stays_unlisted():
    data = content(int)
    assert whole_ids(data, 'f', Problems()) == (data, [])
    data = content(str)
    data['annotations'][0]['image_id'] = 'elsewhere'
    data['annotations'][1]['image_id'] = None
    changed, done = whole_ids(data, 'f', Problems())
    assert [image['id'] for image in changed['images']] == [1, 2]
    assert changed['annotations'][0]['image_id'] not in (1, 2)
    assert changed['annotations'][1]['image_id'] is None
    assert done == ['wrote whole numbers for the ids of the images']
    assert data['images'][0]['id'] == '1'


@pytest.mark.parametrize(
    'name',
    ['sub\\{}.png', 'C:\\Users\\me\\{}.png', 'D:/export/{}.png', '/home/nobody/export/{}.png'],
)
def test_names_of_windows_and_other_machines_are_recognized_and_mended(name, tmp_path):
    root = write_export(tmp_path, [box(1), box(2, category=2, image=2)])
    folder = root / 'train'
    if name.startswith('sub'):
        (folder / 'sub').mkdir()
        for path in folder.glob('*.png'):
            path.rename(folder / 'sub' / path.name)
    path = folder / 'annotations_coco.json'
    data = json.loads(path.read_text())
    for image in data['images']:
        image['file_name'] = name.format(image['id'])
    path.write_text(json.dumps(data))
    found = read_export(root)
    text = '\n'.join(found.problems.lines())
    assert {kind.title for kind in found.problems.kinds('error')} == {
        'file names as another system or machine has them'
    }
    assert 'not on disk' not in text
    assert 'no annotation file lists' not in text
    cfg = dict(
        type='CocoDataset',
        data_root=str(root),
        ann_file='train/annotations_coco.json',
        data_prefix=dict(img='train/'),
    )
    with pytest.raises(UserError, match=r'which is \S+ here; mmadapt dataset FOLDER --fix'):
        check_coco_dataset_cfg(cfg)
    ((_, copy, _),) = write_fixed(found)
    check_coco_dataset_cfg(dict(cfg, ann_file=str(copy)))
    assert not read_export(root, dict(train=str(copy.relative_to(root)))).problems.has_errors


def test_a_name_that_has_a_back_slash_on_disk_too_is_left_alone(tmp_path):
    root = write_export(tmp_path, [box(1), box(2, category=2, image=2)])
    path = root / 'train' / 'annotations_coco.json'
    (root / 'train' / '1.png').rename(root / 'train' / 'a\\1.png')
    path.write_text(path.read_text().replace('"1.png"', json.dumps('a\\1.png')))
    found = read_export(root)
    assert not found.problems.has_errors
    assert write_fixed(found) == []


def test_a_path_of_the_config_with_back_slashes_is_shown_with_slashes(tmp_path):
    root = write_export(tmp_path, [box(1), box(2, category=2)])
    cfg = dict(type='CocoDataset', data_root=str(root), ann_file='train\\annotations_coco.json')
    with pytest.raises(UserError, match=r'did you mean \S+/train/annotations_coco.json, with sl'):
        check_coco_dataset_cfg(cfg)
