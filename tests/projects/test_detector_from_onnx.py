"""A detector out of an ONNX file: a stand-in of Megvii's export, written out operation by operation."""

import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch.nn import functional

from projects.detector_from_onnx import run, weights
from projects.detector_from_onnx.graphs import Record, link
from projects.detector_from_onnx.mapping import Exported, state_dict

SIDE = 64


class Export:
    """Computes a YOLOX-tiny of random weights and notes what it computes as an ONNX file does.

    In its CSP blocks `main` stands before `short`, MMDetection has them the other way round.
    """

    def __init__(self, classes=2, joined=('main', 'short')):
        self.joined, self.random = joined, np.random.default_rng(0)
        self.records, self.constants, self.values = [], {}, {}
        self.values['image'] = torch.rand(1, 3, SIDE, SIDE) * 255
        c3, c4, c5 = self.darknet()
        lateral = self.conv(c5, 192)
        middle = self.csp(self.cat(self.upsample(lateral), c4), 192, 1, False)
        reduced = self.conv(middle, 96)
        fine = self.csp(self.cat(self.upsample(reduced), c3), 96, 1, False)
        middle = self.csp(self.cat(self.conv(fine, 96, 3, 2), reduced), 192, 1, False)
        coarse = self.csp(self.cat(self.conv(middle, 192, 3, 2), lateral), 384, 1, False)
        levels = [self.level(x, classes) for x in (fine, middle, coarse)]
        places = self.cat(*(self.note('Reshape', [x], self[x].flatten(2)) for x in levels), axis=2)
        self.output = self.note('Transpose', [places], self[places].transpose(1, 2), perm=[0, 2, 1])

    def __getitem__(self, name):
        return self.values[name]

    def note(self, kind, inputs, value, **attributes):
        name = str(400 + len(self.records))
        self.records.append(Record(kind, tuple(inputs), name, attributes))
        self.values[name] = value
        return name

    def constant(self, value):
        name = f'constant{len(self.constants)}'
        self.constants[name] = np.asarray(value)
        return name

    def conv(self, x, channels, side=1, stride=1, active=True):
        shape = (channels, self[x].shape[1], side, side)
        weight = (self.random.normal(size=shape) / np.prod(shape[1:]) ** 0.5).astype(np.float32)
        bias = self.random.normal(size=channels).astype(np.float32) / 4
        value = functional.conv2d(
            self[x], torch.tensor(weight), torch.tensor(bias), stride, side // 2
        )
        given = dict(
            dilations=[1, 1], group=1, kernel_shape=[side, side], pads=[side // 2] * 4,
            strides=[stride, stride],
        )  # fmt: skip
        y = self.note('Conv', [x, self.constant(weight), self.constant(bias)], value, **given)
        if not active:
            return y
        sigmoid = self.note('Sigmoid', [y], self[y].sigmoid())
        return self.note('Mul', [y, sigmoid], functional.silu(self[y]))

    def cat(self, *names, axis=1):
        return self.note('Concat', names, torch.cat([self[x] for x in names], axis), axis=axis)

    def upsample(self, x):
        value = self[x].repeat_interleave(2, 2).repeat_interleave(2, 3)
        scales = self.constant(np.float32([1, 1, 2, 2]))
        return self.note('Resize', [x, self.constant([]), scales], value, mode=b'nearest')

    def csp(self, x, channels, depth, shortcut=True):
        parts = dict(main=self.conv(x, channels // 2), short=self.conv(x, channels // 2))
        for _ in range(depth):
            main = parts['main']
            y = self.conv(self.conv(main, channels // 2), channels // 2, 3)
            parts['main'] = self.note('Add', [y, main], self[y] + self[main]) if shortcut else y
        return self.conv(self.cat(*(parts[name] for name in self.joined)), channels)

    def half(self, x, axis, start):
        value = self[x].index_select(axis, torch.arange(start, self[x].shape[axis], 2))
        given = [self.constant([number]) for number in (start, 2**63 - 1, axis, 2)]
        return self.note('Slice', [x, *given], value)

    def darknet(self):
        quarters = [
            self.half(self.half('image', 2, row), 3, column)
            for row, column in ((0, 0), (1, 0), (0, 1), (1, 1))
        ]
        x = self.conv(self.cat(*quarters), 24, 3)
        x = self.csp(self.conv(x, 48, 3, 2), 48, 1)
        c3 = self.csp(self.conv(x, 96, 3, 2), 96, 3)
        c4 = self.csp(self.conv(c3, 192, 3, 2), 192, 3)
        x = self.conv(self.conv(c4, 384, 3, 2), 192)
        pooled = [
            self.note(
                'MaxPool', [x], functional.max_pool2d(self[x], side, 1, side // 2),
                ceil_mode=0, kernel_shape=[side, side], pads=[side // 2] * 4, strides=[1, 1],
            )
            for side in (5, 9, 13)
        ]  # fmt: skip
        return c3, c4, self.csp(self.conv(self.cat(x, *pooled), 384), 384, 1, False)

    def level(self, x, classes):
        x = self.conv(x, 96)
        y = self.conv(self.conv(x, 96, 3), 96, 3)
        scores = self.conv(y, classes, active=False)
        y = self.conv(self.conv(x, 96, 3), 96, 3)
        boxes, there = self.conv(y, 4, active=False), self.conv(y, 1, active=False)
        shares = [self.note('Sigmoid', [name], self[name].sigmoid()) for name in (there, scores)]
        return self.cat(boxes, *shares)

    def linked(self):
        return link(self.records, self.constants, 'image', self.output)


@pytest.fixture
def detector():
    torch.manual_seed(0)
    return weights.build(2)


def test_the_stock_detector_computes_what_the_file_computes(detector):
    file = Export()
    detector.load_state_dict(state_dict(detector, file.linked()), strict=True)
    with torch.no_grad():
        computed = Exported(detector)(file['image'])
    assert computed.shape == (1, 8 * 8 + 4 * 4 + 2 * 2, 7)
    assert file[file.output].std() > 0.3
    assert torch.allclose(computed, file[file.output], atol=1e-5)


def test_a_file_that_joins_its_blocks_in_another_order_is_refused(detector):
    with pytest.raises(
        ValueError, match=r'short_conv.conv\) where the file has conv \(192, 192, 3'
    ):
        state_dict(detector, Export(joined=('short', 'main')).linked())


def test_a_file_of_other_classes_is_refused(detector):
    with pytest.raises(ValueError, match=r'has conv \(2, 96, 1, 1\).* file has conv \(3, 96'):
        state_dict(detector, Export(classes=3).linked())


def test_an_operation_that_no_yolox_has_is_named():
    file = Export()
    file.records[40] = Record('HardSigmoid', file.records[40].inputs, file.records[40].output, {})
    with pytest.raises(ValueError, match='440: no operation of a YOLOX, HardSigmoid'):
        file.linked()


def predicted(scores):
    count = len(scores)
    return dict(
        bboxes=torch.ones(count, 4), scores=torch.tensor(scores), labels=torch.zeros(count).long()
    )


@pytest.mark.parametrize(
    ('others', 'said'),
    [
        ([[0.5, 0.25], []], '2 objects, equal bit by bit'),
        ([[0.5, 0.5], []], '2 objects; labels 0, scores 2.5e-01, boxes 0.0e+00 px apart'),
        ([[0.5, 0.25], [0.5]], '2 and 3 objects'),
        ([[0.5], [0.25]], '2 and 2 objects'),
    ],
)
def test_what_is_said_to_be_equal_is_equal(others, said):
    some = [predicted([0.5, 0.25]), predicted([])]
    assert run.apart(some, [*map(predicted, others)]).startswith(said)


def test_the_model_of_the_checkpoint_is_stock():
    text = Config.fromfile(weights.CONFIG).dump()
    assert not any(word in text for word in ('mmadapt', 'PEFT', 'peft'))


def test_validation_images_are_those_of_the_data_set_that_was_written(tmp_path):
    """Of any folder and format: Roboflow's is valid/, and images may be PNGs."""
    names = ['b.png', 'a.jpg', *(f'c{index}.png' for index in range(9))]
    annotations = tmp_path / 'valid' / '_annotations.coco.json'
    annotations.parent.mkdir()
    split = dict(
        data_root=f'{tmp_path}/', ann_file='valid/_annotations.coco.json',
        data_prefix=dict(img='valid/'),
    )  # fmt: skip
    data = tmp_path / 'data.py'
    data.write_text(f'data_val = {split!r}\n')
    annotations.write_text(json.dumps(dict(images=[dict(file_name=name) for name in names])))
    found = run.validation_images(data)
    assert found[:3] == [tmp_path / 'valid' / name for name in ('a.jpg', 'b.png', 'c0.png')]
    assert len(found) == 8
    annotations.write_text(json.dumps(dict(images=[])))
    with pytest.raises(ValueError, match='lists no image to validate with'):
        run.validation_images(data)
    data.write_text('data_train = dict()\n')
    with pytest.raises(ValueError, match='has no data_val with an annotation file'):
        run.validation_images(data)
