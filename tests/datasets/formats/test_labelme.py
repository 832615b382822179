"""LabelMe's files: shapes of every kind, images where the files say, groups of polygons."""

import json

import pytest
from label_files import annotations, classes, read_coco, write_image, write_text

from mmadapt.datasets.formats import convert
from mmadapt.datasets.formats.labeled import (
    BAD_LABEL,
    LEFT_OUT,
    NO_IMAGE,
    PAINTED,
    TURNED,
    UNLABELED,
    UNREADABLE,
)
from mmadapt.errors import UserError

pytest.importorskip('globox')


def shape(kind, points, label='dog', group=None):
    return dict(label=label, points=points, group_id=group, shape_type=kind, flags={})


BOX = shape('rectangle', [[10.5, 20], [30.5, 60]])


def content(*shapes, path='a.jpg', size=(200, 100)):
    return json.dumps(
        dict(
            version='5.4.1',
            flags={},
            shapes=list(shapes),
            imagePath=path,
            imageData=None,
            imageHeight=size[1],
            imageWidth=size[0],
        )
    )


def make(folder, *shapes):
    write_image(folder / 'train/a.jpg')
    write_text(folder / 'train/a.json', content(*shapes))
    write_image(folder / 'val/v.jpg')
    write_text(folder / 'val/v.json', content(BOX, path='v.jpg'))
    return folder


def run(folder, fraction=None):
    return convert(folder, ('train', 'val', 'test'), fraction, 0, overwrite=False)


def kinds(done):
    return {k: details for kinds in done.problems.found.values() for k, details in kinds.items()}


def boxes(folder, split='train'):
    return [box for found in read_coco(folder, split).values() for box in found[1:]]


def test_rectangles_are_boxes_whichever_corners_were_drawn(tmp_path):
    back = shape('rectangle', [[30, 60], [10, 20]], 'cat')
    done = run(make(tmp_path, BOX, back))
    assert read_coco(tmp_path) == {
        'train/a.jpg': [(200, 100), ('dog', 10.5, 20, 20, 40), ('cat', 10, 20, 20, 40)]
    }
    assert classes(tmp_path) == ['cat', 'dog']
    assert not kinds(done)


def test_polygons_are_boxes_and_masks_and_a_group_of_them_one_object(tmp_path):
    one = [[10, 20], [50, 20], [50, 60]]
    other = [[100, 10], [120, 10], [120, 30], [100, 30]]
    run(
        make(
            tmp_path,
            shape('polygon', one, group=1),
            shape('polygon', other, group=1),
            shape('polygon', other, 'cat', group=1),
            shape('polygon', other),
            shape('rectangle', [[0, 0], [5, 5]], group=1),
        )
    )
    joined, cat, single, box = annotations(tmp_path)
    assert joined['bbox'] == [10, 10, 110, 50]
    assert joined['segmentation'] == [
        [10, 20, 50, 20, 50, 60],
        [100, 10, 120, 10, 120, 30, 100, 30],
    ]
    assert joined['area'] == 800 + 400
    assert cat['bbox'] == single['bbox'] == [100, 10, 20, 20]
    assert (box['bbox'], box['segmentation']) == ([0, 0, 5, 5], [])


def test_a_circle_is_given_by_its_center_and_a_point_of_its_edge(tmp_path):
    run(make(tmp_path, shape('circle', [[50, 40], [53, 44]])))
    assert boxes(tmp_path) == [('dog', 45, 35, 10, 10)]


def test_other_shapes_are_left_out_or_said(tmp_path):
    done = run(
        make(
            tmp_path,
            BOX,
            shape('point', [[5, 5]]),
            shape('linestrip', [[5, 5], [6, 6]], 'cat'),
            shape('line', [[5, 5], [6, 6]], 'cat'),
            dict(shape('mask', [[7, 8], [27, 18]]), mask='iVBOR'),
            shape('rotation', [[50, 40], [60, 50], [50, 60], [40, 50]]),
        )
    )
    assert boxes(tmp_path)[1:] == [('dog', 7, 8, 20, 10), ('dog', 40, 40, 20, 20)]
    assert classes(tmp_path) == ['dog']
    found = kinds(done)
    assert found[LEFT_OUT] == [
        "a.json: point 'dog'",
        "a.json: linestrip 'cat'",
        "a.json: line 'cat'",
    ]
    assert found[PAINTED] == ["a.json: mask 'dog'"]
    assert found[TURNED] == ["a.json: rotation 'dog'"]


@pytest.mark.parametrize(
    'bad',
    [
        shape('rectangle', [[1, 2]]),
        shape('polygon', [[1, 2], [3, 4]]),
        shape('polygon', [[1], [2], [3]]),
    ],
)
def test_a_shape_of_too_few_points_is_an_error(bad, tmp_path):
    done = run(make(tmp_path, BOX, bad))
    (said,) = done.problems.found[f'{tmp_path}/train/a.json'][BAD_LABEL]
    assert said.startswith(f"{bad['shape_type']} 'dog'")
    assert not (tmp_path / 'mmadapt').exists()


@pytest.mark.parametrize(
    'path', ['..\\images\\a.jpg', '../images/a.jpg', 'C:\\photos\\a.jpg', 'renamed.jpg', 'a.jpeg']
)
def test_an_image_is_found_where_the_file_says_or_beside_it(path, tmp_path):
    make(tmp_path)
    image = 'train/a.jpg'
    if 'images' in path:
        image = 'images/a.jpg'
        (tmp_path / 'images').mkdir()
        (tmp_path / 'train/a.jpg').rename(tmp_path / image)
    write_text(tmp_path / 'train/a.json', content(BOX, path=path))
    run(tmp_path)
    assert list(read_coco(tmp_path)) == [image]


def test_what_belongs_to_nothing_is_said_and_an_empty_file_is_an_image_without_boxes(tmp_path):
    make(tmp_path)
    write_image(tmp_path / 'train/bare.jpg')
    write_text(tmp_path / 'train/alone.json', content(BOX, path='gone.jpg'))
    done = run(tmp_path)
    assert read_coco(tmp_path) == {'train/a.jpg': [(200, 100)]}
    assert kinds(done) == {UNLABELED: ['bare.jpg'], NO_IMAGE: ['alone.json: gone.jpg']}


def test_a_file_that_is_cut_off_is_an_error(tmp_path):
    make(tmp_path, BOX)
    path = tmp_path / 'train/a.json'
    path.write_text(path.read_text()[:-9])
    assert 'JSONDecodeError' in kinds(run(tmp_path))[UNREADABLE][0]


def test_sizes_are_the_files_or_else_the_images(tmp_path):
    make(tmp_path, BOX)
    write_text(tmp_path / 'train/a.json', content(BOX, size=(None, None)))
    write_text(tmp_path / 'val/v.json', content(BOX, path='v.jpg', size=(20, 10)))
    run(tmp_path)
    assert read_coco(tmp_path)['train/a.jpg'][0] == (200, 100)
    assert read_coco(tmp_path, 'val')['val/v.jpg'][0] == (20, 10)


def test_one_folder_is_sharded_when_asked(tmp_path):
    for number in range(20):
        write_image(tmp_path / f'{number}.jpg', (32, 24))
        write_text(tmp_path / f'{number}.json', content(BOX, path=f'{number}.jpg', size=(32, 24)))
    with pytest.raises(UserError, match=r'LabelMe format and has no validation.*folders train and'):
        run(tmp_path)
    run(tmp_path, 0.4)
    assert len(boxes(tmp_path)) + len(boxes(tmp_path, 'val')) == 20
    # What was written is not taken for labels the next time, nor for COCO's own files.
    assert run(tmp_path, 0.4).format == 'LabelMe'


def test_images_beside_the_folders_of_splits_are_said(tmp_path):
    make(tmp_path, BOX)
    write_image(tmp_path / 'more.jpg')
    write_text(tmp_path / 'more.json', content(BOX, path='more.jpg'))
    done = run(tmp_path)
    assert [(k.title, d) for k, d in kinds(done).items()] == [
        ('images that are in no split', ['more.jpg'])
    ]


def test_a_coco_file_beside_labels_is_the_data_set(tmp_path):
    make(tmp_path, BOX)
    coco = dict(images=[], annotations=[], categories=[])
    write_text(tmp_path / 'annotations/instances_train.json', json.dumps(coco))
    assert run(tmp_path) is None
