"""Which images are shown: every class, the largest and the smallest box, and always the same."""

from collections import defaultdict

import numpy as np
from coco_files import RUNS, SQUARE, box, coco, write_split
from PIL import Image
from pose_files import NAMES, PLACES, face, poses

from mmadapt.datasets import read_export
from mmadapt.datasets.marks import Marks, draw_marks
from mmadapt.datasets.points import Points
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


def test_marks_of_poses_are_the_points_of_the_file_after_the_colors_of_the_classes(tmp_path):
    faces = [face(1), face(2, keypoints=[1, 2, 2]), face(3, keypoints=None)]
    write_split(tmp_path / 'train', poses(faces))
    split = read_export(tmp_path).splits['train']
    points = Points(NAMES, skeleton=((0, 1),))
    marks = marks_of(split, split.images[1], split.boxes, ('face',), points)
    np.testing.assert_array_equal(marks.keypoints[0], np.reshape(PLACES, (3, 3)))
    # What has not as many is drawn as a box.
    assert not np.any(marks.keypoints[1:])
    assert [*marks.point_labels] == [1, 2, 3]
    assert marks.skeleton == ((0, 1),)
    assert len(marks.boxes) == 3


def test_a_point_is_drawn_in_its_own_color_and_a_hidden_one_as_a_ring():
    image, palette = Image.new('RGB', (80, 40)), [(225, 225, 225), (255, 0, 0), (0, 0, 255)]
    places = np.array([[10, 10, 2], [30, 10, 1], [20, 15, 0]])
    marks = Marks([0], keypoints=[places], point_labels=[1, 2, 1])
    draw_marks(image, marks, ['face'], palette, (2, 2))
    assert image.getpixel((20, 20)) == palette[1]
    assert image.getpixel((60, 20)) == (0, 0, 0)
    assert image.getpixel((65, 20)) == palette[2]
    assert image.getpixel((40, 30)) == (0, 0, 0)
