"""Sheets of label maps: every class is seen where it can be, as MMSegmentation would learn it."""

import numpy as np
import pytest
from label_folders import image
from PIL import Image

from mmadapt.datasets.label_export import read_label_export
from mmadapt.datasets.map_sheet import map_sheet
from mmadapt.datasets.sheets import MOST

RNG = np.random.default_rng(0)


def pixels(shares, size=(40, 25)):
    """A map of the given number of pixels of each value, and 0 elsewhere, (H, W)."""
    flat = np.zeros(size[0] * size[1], int)
    begin = 0
    for value, count in shares.items():
        flat[begin : begin + count] = value
        begin += count
    return flat.reshape(size[1], size[0])


def export(root, maps, classes=(), **options):
    """A data set whose training split has these maps; uint16, or (H, W, 3) uint8."""
    for split, arrays in (('train', maps), ('val', maps[:1])):
        for index, array in enumerate(arrays):
            name = f'{split}{index:03d}'
            image(root / 'images' / split / f'{name}.png', size=array.shape[1::-1])
            (root / 'masks' / split).mkdir(parents=True, exist_ok=True)
            stored = array.astype(np.uint16 if array.ndim == 2 else np.uint8)
            Image.fromarray(stored).save(root / 'masks' / split / f'{name}.png')
    return read_label_export(root, classes=classes, **options)


def captions(sheet):
    return [marks.caption for _, marks in sheet.images]


def test_every_class_is_seen_where_it_is_large_and_what_is_ignored_too(tmp_path):
    maps = [pixels({}) for _ in range(80)]
    # Many images have a few pixels of class 1 or 2, one has many.
    for index in range(30):
        maps[index] = pixels({1: 1, 2: 2})
    # None of them is at a place that equal distances lead to.
    maps[42] = pixels({1: 200})
    maps[52] = pixels({2: 300})
    maps[62] = pixels({3: 2})  # nowhere is more of it
    maps[72] = pixels({255: 300})
    sheet = map_sheet(export(tmp_path, maps, 'abcde'))
    assert {f'train{i:03d}.png' for i in (42, 52, 62, 72)} <= {*captions(sheet)}
    assert len(sheet.images) == 24
    assert captions(sheet) == sorted(captions(sheet))
    assert (sheet.number, sheet.shown, [*sheet.classes]) == (80, 4, [*'abcde'])
    # The others are from everywhere.
    assert min(captions(sheet)) < 'train020'
    again = map_sheet(read_label_export(tmp_path, classes='abcde'))
    assert captions(again) == captions(sheet)


def test_more_images_show_more_classes_up_to_a_number(tmp_path):
    maps = [pixels({value: 500}) for value in range(100)]
    sheet = map_sheet(export(tmp_path, maps, [f'c{i}' for i in range(100)]))
    assert len(sheet.images) == MOST
    assert sheet.shown == MOST + 1  # each has one of its own, and 0
    few = map_sheet(export(tmp_path / 'few', maps[:31], [f'c{i}' for i in range(31)]))
    assert (len(few.images), few.shown) == (30, 31)


def test_an_image_that_shows_a_little_of_every_class_is_enough_for_all_of_them(tmp_path):
    maps = [pixels({value: 500}) for value in range(80)]
    maps[41] = pixels(dict.fromkeys(range(80), 12))
    sheet = map_sheet(export(tmp_path, maps, [f'c{i}' for i in range(80)]))
    assert (len(sheet.images), sheet.shown) == (24, 80)


@pytest.mark.parametrize('reduced', [False, True])
def test_the_labels_are_those_that_mmsegmentation_loads(reduced, tmp_path):
    """Of 16 bits, with and without reduce_zero_label; what does not fit in 8 bits is no class."""
    array = pixels({0: 5, 1: 6, 2: 7, 3: 8, 255: 9, 300: 10, 256: 11})
    read = export(tmp_path, [array], 'abc', reduce_zero_label=reduced)
    sheet = map_sheet(read)
    labels = sheet.images[0][1].label_map
    fits = array < 256
    expected = [255, 0, 1, 2, 255] if reduced else [0, 1, 2, 3, 255]
    for value, label in zip([0, 1, 2, 3, 255], expected, strict=True):
        assert {*labels[array == value].tolist()} == {label}
    assert (labels[~fits] > 256).all()
    transforms = pytest.importorskip('mmseg.datasets.transforms')
    path = str(tmp_path / 'masks/train/train000.png')
    results = dict(seg_map_path=path, reduce_zero_label=reduced, seg_fields=[], label_map=None)
    loaded = transforms.LoadAnnotations()(results)['gt_seg_map']
    np.testing.assert_array_equal(labels[fits], loaded[fits])


def test_the_legend_has_the_share_of_each_class_and_what_is_none(tmp_path):
    maps = [pixels({1: 250, 7: 100, 9: 50, 255: 50}), pixels({1: 1}), pixels({})]
    sheet = map_sheet(export(tmp_path, maps, ('sky', 'sea', 'ship')))
    assert [*sheet.legend] == ['sky 85.0%', 'sea 8.4%', 'ship 0.0%']
    assert sheet.others == [('ignored 1.7%', None), ('no class (7, 9)', (255, 0, 255))]
    assert sheet.palette == read_label_export(tmp_path, classes=('x', 'y', 'z')).palette
    few = [pixels({1: 1}, (100, 100))]
    assert [*map_sheet(export(tmp_path / 'few', few, 'ab')).legend] == ['a 100.0%', 'b <0.1%']


def test_colors_that_are_listed_are_those_of_the_sheet_and_make_its_labels(tmp_path):
    numbers = pixels({1: 300, 2: 200})
    tmp_path.joinpath('classes.txt').write_text('a 9 9 9\nb 200 0 0\nc 0 0 200\n')
    colors = [(9, 9, 9), (200, 0, 0), (0, 0, 200)]
    sheet = map_sheet(export(tmp_path, [np.array(colors)[numbers]]))
    np.testing.assert_array_equal(sheet.images[0][1].label_map, numbers)
    assert sheet.palette == colors
    assert [*sheet.legend] == ['a 50.0%', 'b 30.0%', 'c 20.0%']
    assert sheet.shown == 3


def test_without_a_list_of_classes_the_values_are_shown(tmp_path):
    read = export(tmp_path, [pixels({4: 100, 9: 300, 255: 10, 300: 20})])
    assert read.problems.has_errors
    sheet = map_sheet(read)
    assert [text for text in sheet.legend if text] == ['0 57.0%', '4 10.0%', '9 30.0%']
    assert len(sheet.legend) == len(sheet.palette) == 10
    assert (sheet.shown, sheet.classes) == (3, ['0', '4', '9'])
    assert sheet.others[1][0] == 'no class (300)'


def test_an_image_whose_map_cannot_be_drawn_says_so(tmp_path):
    colors = RNG.integers(0, 255, (25, 40, 3))
    read = export(tmp_path, [pixels({}), colors, pixels({})], 'ab')
    (tmp_path / 'masks/train/train002.png').write_bytes(b'no map')
    read = read_label_export(tmp_path, classes='ab')
    sheet = map_sheet(read)
    assert captions(sheet) == [
        'train000.png',
        'a map of colors\ntrain001.png',
        'a map that cannot be read\ntrain002.png',
    ]
    assert [marks.label_map is None for _, marks in sheet.images] == [False, True, True]
    sheet.write(tmp_path / 'sheet.png', 'title')
    assert Image.open(tmp_path / 'sheet.png').width == 1920


def test_a_data_set_without_training_images_has_an_empty_sheet(tmp_path):
    for name in ('images', 'masks'):
        image(tmp_path / name / 'val' / 'a.png')
    assert not map_sheet(read_label_export(tmp_path, classes='ab')).images
