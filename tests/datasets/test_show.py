"""Which images are shown: every class, the largest and the smallest box, and always the same."""

from collections import defaultdict

import numpy as np
from coco_files import RUNS, SQUARE, box, coco, write_split

from mmadapt.datasets import read_export
from mmadapt.datasets.sheets import MOST
from mmadapt.datasets.show import choose_images, marks_of


def split_of(tmp_path, annotations, images, classes=('cat', 'dog')):
    write_split(tmp_path / 'train', coco(annotations, images, classes))
    return read_export(tmp_path).splits['train']


def chosen(split, count=24):
    by_image = defaultdict(list)
    for each in split.boxes:
        by_image[each['image_id']].append(each)
    return choose_images(split, by_image, count)


def test_rare_classes_extreme_boxes_and_an_image_without_boxes_are_shown(tmp_path):
    boxes = [box(i, image=i, bbox=[1, 1, 10, 10], area=100) for i in range(1, 100) if i != 61]
    boxes[32].update(category_id=2)
    boxes[72].update(bbox=[0, 0, 60, 40])
    boxes[90].update(bbox=[0, 0, 2, 2])
    split = split_of(tmp_path, boxes, images=99)
    ids = chosen(split, 8)
    assert len(ids) == 8
    assert ids == sorted(ids)
    assert {33, boxes[72]['image_id'], boxes[90]['image_id'], 61} <= set(ids)
    assert chosen(split, 8) == ids
    # The others come from everywhere.
    assert min(ids) < 25
    assert max(ids) > 75
    assert chosen(split, 200) == list(range(1, 100))


def test_more_images_show_more_classes_up_to_a_number(tmp_path):
    for count, expected in ((30, 30), (100, MOST)):
        names = tuple(f'c{i}' for i in range(count))
        boxes = [box(i, image=i, category=i) for i in range(1, count + 1)]
        split = split_of(tmp_path / str(count), boxes, count + 5, names)
        assert expected <= len(chosen(split)) <= expected + 3


def test_few_images_that_show_every_class_are_enough(tmp_path):
    boxes = [box(i, image=1 + (i - 1) % 3, category=1 + (i - 1) % 6) for i in range(1, 13)]
    split = split_of(tmp_path, boxes, 3, tuple('abcdef'))
    assert chosen(split, 1) == [1, 2, 3]


def test_marks_are_the_boxes_names_and_masks_of_the_file(tmp_path):
    annotations = [
        box(1, segmentation=SQUARE),
        box(2, category=2, segmentation=RUNS, iscrowd=1),
        box(3, category=2, ignore=1),
    ]
    split = split_of(tmp_path, annotations, 1)
    marks = marks_of(split, split.images[1], split.boxes, ('dog', 'cat'))
    assert list(marks.labels) == [1, 0, 0]
    assert list(marks.boxes) == [(4, 4, 24, 24)] * 3
    assert list(marks.texts) == ['cat', 'dog, marked iscrowd', 'dog, marked ignore']
    assert marks.masks[0] == SQUARE
    assert marks.masks[2] is None
    # The left half of 64 x 48.
    assert np.array_equal(np.nonzero(marks.masks[1].any(axis=0))[0], np.arange(32))
    assert marks.caption == '1.png'
    # A category that is no class.
    assert list(marks_of(split, split.images[1], split.boxes, ('cat',)).labels) == [0]
