"""YOLO labels: every row of every layout becomes the box that was drawn, or is said."""

from pathlib import Path

import pytest
from label_files import annotations, classes, read_coco, write_image, write_text
from PIL import Image

from mmadapt.datasets.formats import convert
from mmadapt.datasets.formats.labeled import BAD_LABEL, NO_IMAGE
from mmadapt.datasets.formats.yolo import BACKGROUND, KEYPOINTS, NO_SUCH_CLASS, NOT_RELATIVE
from mmadapt.datasets.formats.yolo_splits import ELSEWHERE
from mmadapt.datasets.image_checks import BROKEN, MISSING
from mmadapt.errors import UserError

pytest.importorskip('globox')

SPLITS = ('train', 'val', 'test')
# Half the image in the middle of 200 x 100, and its box in pixels.
HALF, HALF_BOX = '1 0.5 0.5 0.5 0.5\n', ('dog', 50, 25, 100, 50)
YAML = 'train: images/train\nval: images/val\nnames: [cat, dog]\n'


def make(folder, yaml=YAML, label=HALF, **labels):
    """Write one image for validation and, for training, one of each name with its label."""
    write_image(folder / 'images/val/v.jpg')
    write_text(folder / 'labels/val/v.txt', HALF)
    for name, text in (labels or dict(a=label)).items():
        write_image(folder / f'images/train/{name}.jpg')
        if text is not None:
            write_text(folder / f'labels/train/{name}.txt', text)
    if yaml:
        write_text(folder / 'data.yaml', yaml)
    return folder


def run(folder, wanted=SPLITS, fraction=None, seed=0):
    return convert(folder, wanted, fraction, seed, overwrite=False)


def kinds(done):
    return {
        kind: details for kinds in done.problems.found.values() for kind, details in kinds.items()
    }


def test_a_box_is_where_it_was_drawn(tmp_path):
    label = '0 0.1 0.2 0.1 0.2\n1 0.95 0.5 0.1 1\n'
    done = run(make(tmp_path, label=label))
    assert read_coco(tmp_path) == {
        'images/train/a.jpg': [(200, 100), ('cat', 10, 10, 20, 20), ('dog', 180, 0, 20, 100)]
    }
    assert read_coco(tmp_path, 'val') == {'images/val/v.jpg': [(200, 100), HALF_BOX]}
    boxes = annotations(tmp_path)
    assert [(a['id'], a['area'], a['iscrowd'], a['segmentation']) for a in boxes] == [
        (1, 400, 0, []),
        (2, 2000, 0, []),
    ]
    assert done.classes == ('cat', 'dog')
    assert done.order == f'in the order of {tmp_path}/data.yaml'
    assert not kinds(done)


def test_empty_labels_and_missing_ones_are_images_without_boxes(tmp_path):
    done = run(make(tmp_path, empty='', blank='\n  \n', missing=None, ended=HALF + '\n\n'))
    images = read_coco(tmp_path)
    assert {Path(name).stem: len(found) - 1 for name, found in images.items()} == dict(
        blank=0, empty=0, ended=1, missing=0
    )
    assert kinds(done) == {BACKGROUND: ['missing.jpg']}


def test_a_mark_of_the_encoding_at_the_beginning_is_no_label(tmp_path):
    make(tmp_path, '\ufeff' + YAML, '\ufeff' + HALF)
    run(tmp_path)
    assert read_coco(tmp_path)['images/train/a.jpg'][1:] == [HALF_BOX]


def test_a_list_names_images_from_where_it_is(tmp_path):
    yaml = 'train: set/train.txt\nval: set/val.txt\nnames: [cat, dog]\n'
    for split in ('train', 'val'):
        write_image(tmp_path / f'set/images/{split}.jpg')
        write_text(tmp_path / f'set/labels/{split}.txt', HALF)
        write_text(tmp_path / f'set/{split}.txt', f'./images/{split}.jpg')
    run(make(tmp_path, yaml))
    assert read_coco(tmp_path) == {'set/images/train.jpg': [(200, 100), HALF_BOX]}


def test_a_polygon_is_a_box_and_a_mask(tmp_path):
    run(make(tmp_path, label='0 0.1 0.2 0.5 0.2 0.5 0.6\n' + HALF))
    polygon, box = annotations(tmp_path)
    assert polygon['bbox'] == [20, 20, 80, 40]
    assert polygon['segmentation'] == [[20, 20, 100, 20, 100, 60]]
    assert polygon['area'] == 1600  # of the triangle, half of the box
    assert box['segmentation'] == []


def test_sizes_are_those_of_the_images_as_they_are_seen(tmp_path):
    make(tmp_path, label=HALF)
    tag = Image.Exif()
    tag[0x0112] = 8
    write_image(tmp_path / 'images/train/turned.jpg', exif=tag)
    write_image(tmp_path / 'images/train/loud.JPG', (64, 48), format='JPEG')
    write_image(tmp_path / 'images/train/web.webp', (20, 10))
    for name in ('turned', 'loud', 'web'):
        write_text(tmp_path / f'labels/train/{name}.txt', HALF)
    run(tmp_path)
    images = {Path(name).name: found for name, found in read_coco(tmp_path).items()}
    assert images['turned.jpg'] == [(100, 200), ('dog', 25, 50, 50, 100)]
    assert images['loud.JPG'] == [(64, 48), ('dog', 16, 12, 32, 24)]
    assert images['web.webp'] == [(20, 10), ('dog', 5, 2.5, 10, 5)]


ROWS = {
    '7 0.5 0.5 0.1 0.1': NO_SUCH_CLASS,
    '-1 0.5 0.5 0.1 0.1': NO_SUCH_CLASS,
    '0.5 0.5 0.5 0.1 0.1': NO_SUCH_CLASS,
    'cat 0.5 0.5 0.1 0.1': BAD_LABEL,
    '0 0.5 0.5 0.1': BAD_LABEL,
    '0 0.5 0.5 0.1 0.1 0.9': BAD_LABEL,  # a prediction
    '0 0.5 0.5 0.1 0.1 0.9 0.9 0.9': BAD_LABEL,
    '0 0.5 0.5 -0.1 0.1': NOT_RELATIVE,
    '0 0.5 0.5 0.1 nan': NOT_RELATIVE,
    '0 100 50 20 20': NOT_RELATIVE,
    '0 10 20 50 20 50 60': NOT_RELATIVE,
}


@pytest.mark.parametrize('row', ROWS)
def test_a_row_that_is_no_label_is_an_error_with_its_line(row, tmp_path):
    done = run(make(tmp_path, label=HALF + '\n' + row + '\n'))
    ((kind, (said,)),) = kinds(done).items()
    assert kind == ROWS[row]
    assert said.startswith(f'line 3: {row}')
    assert list(done.problems.found) == [f'{tmp_path}/labels/train/a.txt']
    assert not (tmp_path / 'mmadapt').exists()


def test_keypoints_are_left_out_and_their_boxes_are_not(tmp_path):
    yaml = YAML + 'kpt_shape: [2, 3]\n'
    done = run(make(tmp_path, yaml, label='0 0.1 0.2 0.1 0.2 0.1 0.1 2 0.2 0.2 1\n'))
    assert read_coco(tmp_path)['images/train/a.jpg'][1:] == [('cat', 10, 10, 20, 20)]
    assert kinds(done).keys() == {KEYPOINTS}


def test_labels_without_an_image_and_broken_images_are_said(tmp_path):
    make(tmp_path, a=HALF, broken=HALF)
    write_text(tmp_path / 'labels/train/alone.txt', HALF)
    write_text(tmp_path / 'labels/train/classes.txt', 'cat\ndog\n')
    (tmp_path / 'images/train/broken.jpg').write_bytes(b'no image')
    done = run(tmp_path)
    assert kinds(done)[NO_IMAGE] == ['alone.txt']
    assert 'broken.jpg' in kinds(done)[BROKEN][0]


@pytest.mark.parametrize(
    ('names', 'expected'),
    [
        ('[cat, dog]', ['cat', 'dog']),
        ('{0: cat, 1: dog}', ['cat', 'dog']),
        ('{1: dog, 0: cat}', ['cat', 'dog']),
        ("{'1': zebra, '0': ant}", ['ant', 'zebra']),
        ('[zebra, ant]', ['zebra', 'ant']),  # not sorted
        (str({i: f'c{i}' for i in range(12)}), [f'c{i}' for i in range(12)]),
        ('{3: x, 1: dog}', ['dog', 'x']),
        ('[2, 10]', ['2', '10']),
    ],
)
def test_classes_are_in_the_order_of_their_numbers(names, expected, tmp_path):
    run(make(tmp_path, YAML.replace('[cat, dog]', names)))
    assert classes(tmp_path) == expected
    assert annotations(tmp_path)[0]['category_id'] == 1 + expected.index(
        expected[0] if names.startswith('{3') else expected[1]
    )


@pytest.mark.parametrize(
    ('names', 'said'),
    [
        ('', 'no names for their class numbers: write data.yaml'),
        ('[yes, no]', "class 0 is read as True; write it in quotes, such as 'yes'"),
        ('[cat, ]\n  x: [', 'cannot be read: '),
        ('cat', "has to be a list of names, or have class numbers as keys; got 'cat'"),
        ('{a: cat}', "has to be a list of names, or have class numbers as keys; got 'a'"),
    ],
)
def test_names_that_are_none_are_one_line(names, said, tmp_path):
    with pytest.raises(UserError) as error:
        run(make(tmp_path, YAML.replace('[cat, dog]', names)))
    assert said in str(error.value)
    assert '\n' not in str(error.value)


def test_a_file_runs_no_code(tmp_path):
    yaml = YAML.replace('[cat, dog]', f'!!python/object/apply:os.mkdir ["{tmp_path}/made"]')
    with pytest.raises(UserError, match='cannot be read'):
        run(make(tmp_path, yaml))
    assert not (tmp_path / 'made').exists()


@pytest.mark.parametrize(
    'layout',
    [
        'ultralytics',
        'roboflow',
        'elsewhere',
        'colab',
        'lists',
        'no_yaml',
        'no_yaml_roboflow',
        'cvat',
    ],
)
def test_the_layouts_of_exporters_are_read(layout, tmp_path):
    """The same two images and boxes in each."""
    inverted = layout in ('roboflow', 'no_yaml_roboflow', 'colab')
    for split, box in (('train', '0 0.1 0.2 0.1 0.2\n'), ('val', HALF)):
        folder = {'val': 'valid'}.get(split, split) if inverted else split
        image = f'{folder}/images/{split}.png' if inverted else f'images/{folder}/{split}.png'
        if layout == 'cvat':
            image = f'obj_train_data/{split}.png'
        write_image(tmp_path / image)
        label = image.replace('images', 'labels').replace('.png', '.txt')
        write_text(tmp_path / label, box)
    yaml = dict(
        ultralytics='path: .\ntrain: images/train\nval: [images/val]\ntest:\n',
        roboflow='train: ../train/images\nval: ../valid/images\n',
        elsewhere='path: ../datasets/gone\ntrain: images/train\nval: images/val\n',
        colab='train: /content/drive/x/train/images\nval: /content/drive/x/valid/images\n',
        lists='train: train.txt\nval: val.txt\n',
    ).get(layout)
    if yaml:
        write_text(tmp_path / 'data.yaml', yaml + 'nc: 2\nnames: [cat, dog]\n')
    elif layout == 'cvat':
        write_text(tmp_path / 'obj.names', 'cat\ndog\n')
        write_text(
            tmp_path / 'obj.data',
            'classes = 2\ntrain = data/train.txt\nvalid = data/valid.txt\nnames = data/obj.names\n',
        )
        write_text(tmp_path / 'train.txt', 'data/obj_train_data/train.png\n')
        write_text(tmp_path / 'valid.txt', 'data/obj_train_data/val.png\n')
    else:
        write_text(tmp_path / 'classes.txt', 'cat\ndog\n')
    if layout == 'lists':
        write_text(tmp_path / 'train.txt', './images/train/train.png\n')
        write_text(tmp_path / 'val.txt', f'{tmp_path}/images/val/val.png\n\n')
    done = run(tmp_path)
    assert not kinds(done), kinds(done)
    ((_, (_, *train)),) = read_coco(tmp_path).items()
    ((_, (_, *val)),) = read_coco(tmp_path, 'val').items()
    assert (train, val) == ([('cat', 10, 10, 20, 20)], [HALF_BOX])


def test_what_data_yaml_names_and_is_not_there_is_said(tmp_path):
    yaml = YAML.replace('images/train', '[images/train, more/train, list.txt]')
    make(tmp_path, yaml)
    write_text(tmp_path / 'list.txt', 'images/train/b.jpg\n/tmp\n')
    done = run(tmp_path)
    assert done.problems.found[f'{tmp_path}/list.txt'][MISSING] == ['images/train/b.jpg', '/tmp']
    assert done.problems.found[f'{tmp_path}/data.yaml'][MISSING] == ['train: more/train']


def test_images_elsewhere_are_no_part_of_the_folder(tmp_path):
    write_image(tmp_path / 'far/train/x.jpg')
    done = run(make(tmp_path / 'near', YAML.replace('images/train', f'{tmp_path}/far/train')))
    assert kinds(done)[ELSEWHERE] == [f'{tmp_path}/far/train/x.jpg']
    # The folder may be named from anywhere, and through a link.
    (tmp_path / 'link').symlink_to(tmp_path / 'near')
    write_text(tmp_path / 'near/data.yaml', YAML)
    assert not kinds(run(tmp_path / 'link'))


def test_a_folder_of_that_name_further_up_is_no_folder_of_images(tmp_path):
    """Ultralytics' own rule takes the last `images` of the whole path."""
    folder = make(tmp_path / 'images' / 'set', None)
    for split in ('train', 'val'):
        (folder / 'images' / split).rename(folder / split)
        for path in (folder / 'labels' / split).iterdir():
            path.rename(folder / split / path.name)
    write_text(folder / 'data.yaml', YAML.replace('images/', ''))
    run(folder)
    assert read_coco(folder) == {'train/a.jpg': [(200, 100), HALF_BOX]}


def one_folder(tmp_path, count=40):
    for number in range(count):
        write_image(tmp_path / f'images/{number}.jpg', (32, 24))
        write_text(tmp_path / f'labels/{number}.txt', HALF)
    write_text(tmp_path / 'labels/classes.txt', 'cat\ndog\n')
    return tmp_path


def test_one_folder_of_images_is_sharded_only_when_asked_and_always_alike(tmp_path):
    one_folder(tmp_path)
    with pytest.raises(UserError, match='no validation split: --val-fraction 0.2 takes a fifth'):
        run(tmp_path)
    run(tmp_path, fraction=0.25)
    train, val = set(read_coco(tmp_path)), set(read_coco(tmp_path, 'val'))
    assert len(train | val) == 40
    assert not train & val
    assert 4 <= len(val) <= 16
    # Others that come do not move one to the other side, nor does another place of the folder.
    one_folder(tmp_path, 60)
    moved = tmp_path.rename(tmp_path.with_name('moved'))
    convert(moved, SPLITS, 0.25, 0, overwrite=True)
    assert train <= set(read_coco(moved))
    assert val <= set(read_coco(moved, 'val'))
    convert(moved, SPLITS, 0.25, 1, overwrite=True)
    assert not val <= set(read_coco(moved, 'val'))


def test_versions_of_one_image_stay_on_one_side(tmp_path):
    for number in range(8):
        for version in 'abcdef':
            write_image(tmp_path / f'images/{number}_jpg.rf.{version}.jpg', (16, 12))
            write_text(tmp_path / f'labels/{number}_jpg.rf.{version}.txt', HALF)
    write_text(tmp_path / 'classes.txt', 'cat\ndog\n')
    run(tmp_path, fraction=0.5)
    sides = [{Path(name).name[0] for name in read_coco(tmp_path, s)} for s in ('train', 'val')]
    assert not sides[0] & sides[1]
    assert len(sides[0] | sides[1]) == 8


@pytest.mark.parametrize(
    ('fraction', 'count', 'said'),
    [
        (0.2, None, 'has a validation split already'),
        (1.0, 4, '--val-fraction 1.0 is no share of the images'),
        (float('nan'), 4, 'is no share of the images'),
        (0.0001, 4, 'of 4 images leaves a split without any'),
    ],
)
def test_a_fraction_that_cannot_be_taken_is_one_line(fraction, count, said, tmp_path):
    folder = one_folder(tmp_path, count) if count else make(tmp_path)
    with pytest.raises(UserError, match=said):
        run(folder, fraction=fraction)


def test_training_images_without_a_validation_split_are_sharded_too(tmp_path):
    make(tmp_path, 'train: images/train\nnames: [cat, dog]\n', **{f'i{n}': HALF for n in range(20)})
    with pytest.raises(UserError, match='has no validation split'):
        run(tmp_path)
    run(tmp_path, fraction=0.3)
    assert len(read_coco(tmp_path)) + len(read_coco(tmp_path, 'val')) == 20


def test_several_yaml_files_are_not_chosen_among(tmp_path):
    make(tmp_path)
    write_text(tmp_path / 'other.yaml', YAML.replace('cat', 'wolf'))
    run(tmp_path)
    assert classes(tmp_path) == ['cat', 'dog']
    (tmp_path / 'data.yaml').rename(tmp_path / 'mine.yaml')
    with pytest.raises(
        UserError, match='has mine.yaml, other.yaml: call the one to read data.yaml'
    ):
        run(tmp_path)
    # Settings of something else are none.
    write_text(tmp_path / 'other.yaml', 'epochs: 3\n')
    (tmp_path / 'mmadapt/train.json').unlink()
    run(tmp_path)


def test_a_folder_of_captions_is_no_data_set(tmp_path):
    write_image(tmp_path / 'a.jpg')
    write_text(tmp_path / 'a.txt', 'a cat')
    assert run(tmp_path) is None
    assert run(tmp_path / 'nowhere') is None
