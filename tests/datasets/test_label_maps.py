"""Label maps: everything that MMSegmentation would not say is found, file by file."""

import numpy as np
import pytest
from label_folders import SPLITS, image, label_map, label_maps
from PIL import Image

from mmadapt.datasets.class_list import read_class_list
from mmadapt.datasets.label_export import read_label_export
from mmadapt.datasets.label_map_checks import check_label_maps
from mmadapt.datasets.label_maps import labels_of, numbers_of, read_label_map
from mmadapt.datasets.problems import Problems
from mmadapt.errors import UserError

TWO, THREE = ('bg', 'fg'), ('bg', 'skin', 'hair')


def found(root, classes=TWO, **options):
    """What is found, as (severity, title, file's last part, details)."""
    problems = read_label_export(root, classes=classes, **options).problems.found
    return {
        (kind.severity, kind.title): [*details]
        for kinds in problems.values()
        for kind, details in kinds.items()
    }


def errors(root, classes=TWO, **options):
    return {
        title: d
        for (severity, title), d in found(root, classes, **options).items()
        if severity == 'error'
    }


def stock(path, reduce_zero_label=False, backend='pillow'):
    """The map as MMSegmentation itself loads it."""
    loading = pytest.importorskip('mmseg.datasets.transforms.loading')
    results = dict(seg_map_path=str(path), reduce_zero_label=reduce_zero_label, seg_fields=[])
    return loading.LoadAnnotations(imdecode_backend=backend)(results)['gt_seg_map']


def test_a_right_data_set_has_no_error(tmp_path):
    assert not errors(label_maps(tmp_path))


@pytest.mark.parametrize('mode', ['L', 'P', 'I;16'])
@pytest.mark.parametrize('reduced', [False, True])
def test_labels_are_counted_as_mmsegmentation_loads_them(mode, reduced, tmp_path):
    values = (0, 1, 1, 2, 254, 255) if mode != 'P' else (0, 1, 1, 2)
    path = label_map(tmp_path / 'a.png', values, mode=mode)
    ours = labels_of(read_label_map(path).counts, reduced)
    seen = stock(path, reduced)
    assert ours == dict(
        zip(*(x.tolist() for x in np.unique(seen, return_counts=True)), strict=True)
    )


def test_a_map_of_one_bit_counts_as_zero_and_one(tmp_path):
    labels = np.zeros((4, 4), bool)
    labels[0] = True
    Image.fromarray(labels).save(tmp_path / 'a.png')
    assert read_label_map(tmp_path / 'a.png').counts == {0: 12, 1: 4}
    assert np.unique(stock(tmp_path / 'a.png')).tolist() == [0, 1]


def test_only_0_and_255_is_an_error_with_two_classes_alone(tmp_path):
    root = label_maps(tmp_path, (0, 255))
    title = 'only 0 and 255 with two classes'
    assert errors(root)[title] == ['255 is 50.0% of the pixels of 2 maps']
    assert title not in found(root, THREE)
    # As a border that is ignored, beside two classes.
    label_map(root / 'masks' / 'train' / 'train0.png', (0, 1, 255))
    label_map(root / 'masks' / 'validation' / 'validation0.png', (0, 1, 255))
    assert not errors(root)


def test_values_that_are_no_class_are_named_with_their_maps(tmp_path):
    root = label_maps(tmp_path)
    label_map(root / 'masks' / 'train' / 'train1.png', (0, 1, 7))
    assert errors(root) == {
        'values that are no class': [
            '7 in 1 map, for instance train1.png, 32 pixels; there are 2 classes'
        ]
    }


def test_values_from_one_are_told_of_reduce_zero_label(tmp_path):
    root = label_maps(tmp_path, (0, 1, 2))
    export = read_label_export(root, classes=TWO)
    assert {kind.remedy for kind in export.problems.kinds('error')} != set()
    assert all('--reduce-zero-label' in kind.remedy for kind in export.problems.kinds('error'))
    reduced = read_label_export(root, classes=TWO, reduce_zero_label=True)
    assert not reduced.problems.has_errors
    assert reduced.splits['train'].pixels == {255: 64, 0: 64, 1: 64}


def test_16_bit_values_are_refused_where_they_would_wrap_only(tmp_path):
    root = label_maps(tmp_path, mode='I;16')
    assert not errors(root)
    path = label_map(root / 'masks' / 'train' / 'train1.png', (0, 300), mode='I;16')
    assert errors(root) == {'values beyond 255': ['train1.png: 300']}
    assert np.unique(stock(path)).tolist() == [0, 44]


def test_maps_of_colors_and_jpegs_are_refused(tmp_path):
    root = label_maps(tmp_path, mode='RGB')
    assert len(errors(root)['label maps of colors, where a map has one number a pixel']) == 2
    root = label_maps(tmp_path / 'jpeg')
    for path in root.glob('masks/*/*.png'):
        Image.open(path).save(path.with_suffix('.jpg'))
        path.unlink()
    assert 'label maps saved as JPEG, which changes their values' in errors(root)


def test_an_image_among_maps_has_no_class_numbers_whatever_colors_are_listed(tmp_path):
    photo = read_label_map(image(tmp_path / 'a.png', (40, 30)))
    assert photo.colors == {}
    assert numbers_of(photo, [(0, 0, 0), (128, 0, 0)]) is None
    assert numbers_of(photo, ()) is None


def test_an_image_without_a_map_is_an_error_and_a_map_without_an_image_is_not(tmp_path):
    root = label_maps(tmp_path)
    (root / 'masks' / 'train' / 'train1.png').unlink()
    label_map(root / 'masks' / 'validation' / 'other.png')
    assert errors(root) == {'images without a label map': ['train1.jpg']}
    assert found(root)[('warning', 'label maps without an image')] == ['other.png']


def cityscapes(root, kinds=('color', 'instanceIds', 'labelIds', 'labelTrainIds')):
    """Cityscapes as it is unpacked: names of both sides end in what the other lacks."""
    for split in ('train', 'val'):
        for city in ('aachen', 'bochum'):
            for index in range(2):
                name = f'{split}/{city}/{city}_00000{index}_00019'
                image(root / 'leftImg8bit' / f'{name}_leftImg8bit.png')
                for kind in kinds:
                    values = (0, 1, 255) if kind == 'labelTrainIds' else (0, 26, 33)
                    label_map(root / 'gtFine' / f'{name}_gtFine_{kind}.png', values)
    return root


def test_images_and_maps_with_a_suffix_each_are_pairs_for_mmsegmentation_too(tmp_path):
    export = read_label_export(cityscapes(tmp_path), classes=TWO)
    assert not export.problems.has_errors
    pairs = export.splits['train'].pairs
    assert pairs.img_suffix == '_leftImg8bit.png'
    assert pairs.seg_map_suffix == '_gtFine_labelTrainIds.png'
    ends = '/train/bochum/bochum_000001_00019'
    assert pairs.maps[tmp_path / f'leftImg8bit{ends}_leftImg8bit.png'] == (
        tmp_path / f'gtFine{ends}_gtFine_labelTrainIds.png'
    )
    said = found(tmp_path)
    written = "img_suffix='_leftImg8bit.png', seg_map_suffix='_gtFine_labelTrainIds.png'"
    assert said[('note', 'images and label maps of different suffixes')] == [written]
    assert said[('note', 'images with several label maps')] == [
        '_gtFine_labelTrainIds.png of _gtFine_color.png, _gtFine_instanceIds.png, '
        '_gtFine_labelIds.png, _gtFine_labelTrainIds.png'
    ]
    assert ('warning', 'label maps without an image') not in said
    datasets = pytest.importorskip('mmseg.datasets')
    data = datasets.BaseSegDataset(
        data_root=str(tmp_path),
        data_prefix=dict(img_path='leftImg8bit/train', seg_map_path='gtFine/train'),
        img_suffix=pairs.img_suffix,
        seg_map_suffix=pairs.seg_map_suffix,
    )
    assert {d['img_path']: d['seg_map_path'] for d in data} == {
        str(k): str(v) for k, v in pairs.maps.items()
    }


def test_colors_and_instances_are_not_taken_for_classes(tmp_path):
    root = cityscapes(tmp_path, ('color', 'instanceIds', 'labelIds'))
    pairs = read_label_export(root, classes=[f'c{i}' for i in range(34)]).splits['val'].pairs
    assert pairs.seg_map_suffix == '_gtFine_labelIds.png'


def test_a_missing_map_of_a_suffix_is_the_one_that_is_missing(tmp_path):
    root = cityscapes(tmp_path, ('labelTrainIds',))
    (root / 'gtFine/train/aachen/aachen_000000_00019_gtFine_labelTrainIds.png').unlink()
    lost = 'aachen/aachen_000000_00019_leftImg8bit.png'
    assert errors(root) == {'images without a label map': [lost]}


def test_images_that_end_in_numbers_are_not_paired_with_others(tmp_path):
    for split in SPLITS:
        for name in 'ab':
            image(tmp_path / 'images' / split / f'{split}_{name}_1.png')
            label_map(tmp_path / 'masks' / split / f'{split}_{name}_2.png')
    assert errors(tmp_path) == {
        'images without a label map': ['validation_a_1.png', 'validation_b_1.png']
    }


@pytest.mark.parametrize('name', ['x.png', 'x.JPG'])
def test_images_that_the_suffix_would_leave_out_are_an_error(name, tmp_path):
    root = label_maps(tmp_path)
    image(root / 'images' / 'train' / name)
    label_map(root / 'masks' / 'train' / 'x.png')
    ends = name[1:]
    assert errors(root) == {'images of several suffixes': [f'2 .jpg, 1 {ends}']}
    datasets = pytest.importorskip('mmseg.datasets')
    taken = datasets.BaseSegDataset(
        data_root=str(root), data_prefix=dict(img_path='images/train', seg_map_path='masks/train')
    )
    assert len(taken) == 2


def test_splits_may_have_suffixes_of_their_own(tmp_path):
    root = label_maps(tmp_path)
    for path in root.glob('images/validation/*.jpg'):
        path.rename(path.with_suffix('.JPG'))
    for path in root.glob('masks/train/*.png'):
        path.rename(path.with_name(f'{path.stem}_mask.png'))
    export = read_label_export(root, classes=TWO)
    assert not export.problems.has_errors
    pairs = {
        name: (s.pairs.img_suffix, s.pairs.seg_map_suffix) for name, s in export.splits.items()
    }
    assert pairs == dict(train=('.jpg', '_mask.png'), val=('.JPG', '.png'))


def test_a_number_at_the_end_of_a_name_is_no_suffix_of_a_map(tmp_path):
    root = tmp_path
    for split in SPLITS:
        for name in ('1', '10', '100'):
            image(root / 'images' / split / f'{name}.jpg')
            label_map(root / 'masks' / split / f'{name}.png')
    export = read_label_export(root, classes=TWO)
    assert not export.problems.has_errors
    assert all(i.stem == m.stem for i, m in export.splits['train'].pairs.maps.items())


def test_a_map_of_another_size_is_an_error(tmp_path):
    root = label_maps(tmp_path)
    label_map(root / 'masks' / 'train' / 'train0.png', size=(10, 8))
    assert errors(root) == {
        'label maps of another size than their image': ['train0.png: 10 x 8, train0.jpg 12 x 8']
    }


def test_an_image_that_its_tag_turns_does_not_fit_its_map(tmp_path):
    root = label_maps(tmp_path)
    path = root / 'images' / 'train' / 'train0.jpg'
    turned = Image.open(path)
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(path, exif=exif)
    assert errors(root) == {
        'label maps as large as their image before it is turned': [
            'train0.png: 12 x 8, train0.jpg 8 x 12'
        ]
    }


def test_broken_files_are_named(tmp_path):
    root = label_maps(tmp_path)
    path = root / 'masks' / 'train' / 'train0.png'
    labels = np.random.default_rng(0).integers(0, 2, (8, 12), dtype=np.uint8)
    Image.fromarray(labels).save(path)
    path.write_bytes(path.read_bytes()[:50])
    (root / 'images' / 'validation' / 'validation0.jpg').write_bytes(b'no image')
    assert {*errors(root)} == {
        'label maps that cannot be read',
        'images that cannot be read to their end',
    }


def test_classes_that_are_never_trained_and_what_is_ignored_are_said(tmp_path):
    root = label_maps(tmp_path, (0, 2, 255, 255, 255, 255))
    seen = found(root, THREE)
    assert seen[('warning', 'classes that no training map has')] == ["1 'skin'"]
    assert seen[('note', 'classes that no map of the split has')] == ["1 'skin'"]
    assert seen[('warning', 'more than half of the pixels are ignored')] == ['66.7%']
    assert not errors(root, THREE)


def test_two_splits_that_share_an_image_are_said(tmp_path):
    root = label_maps(tmp_path)
    same = (root / 'images' / 'train' / 'train0.jpg').read_bytes()
    (root / 'images' / 'validation' / 'validation0.jpg').write_bytes(same)
    assert any('in two splits' in title for _, title in found(root))


def test_the_classes_are_asked_for_with_the_values_that_are_there(tmp_path):
    details = errors(label_maps(tmp_path, (0, 3)), ())['no list of classes']
    assert details[0].startswith('the maps have 0, 3; none of classes.txt')


@pytest.mark.parametrize(
    ('text', 'names', 'colors'),
    [
        ('bg\nskin tone\n', ('bg', 'skin tone'), []),
        ('# a comment\n\n0 bg\n1: fg\n', ('bg', 'fg'), []),
        ('bg 0 0 0\nfg,128,0,7\n', ('bg', 'fg'), [(0, 0, 0), (128, 0, 7)]),
        ('0 0 0 bg\n128 0 7\tfg\n', ('bg', 'fg'), [(0, 0, 0), (128, 0, 7)]),
        ('bg:0,0,0::\nfg:128,0,7::\n', ('bg', 'fg'), [(0, 0, 0), (128, 0, 7)]),
        ('name,r,g,b\nbg,0,0,0\nfg,128,0,7\n', ('bg', 'fg'), [(0, 0, 0), (128, 0, 7)]),
    ],
)
def test_a_list_of_classes_is_read_as_the_tools_write_it(text, names, colors, tmp_path):
    (tmp_path / 'labelmap.txt').write_text(text)
    assert read_class_list(tmp_path) == (tmp_path / 'labelmap.txt', names, colors)


@pytest.mark.parametrize('text', ['a\na\n', 'a 1 2 3\nb 1 2 3\n', '\n'])
def test_a_class_or_color_that_stands_there_twice_is_refused(text, tmp_path):
    (tmp_path / 'classes.txt').write_text(text)
    with pytest.raises(UserError, match='classes.txt'):
        read_class_list(tmp_path)


def test_lists_of_a_voc_folder_make_the_splits(tmp_path):
    lists = tmp_path / 'ImageSets' / 'Segmentation'
    lists.mkdir(parents=True)
    for name in 'abc':
        image(tmp_path / 'JPEGImages' / f'{name}.jpg')
        label_map(tmp_path / 'SegmentationClass' / f'{name}.png', mode='P')
    image(tmp_path / 'JPEGImages' / 'unused.jpg')
    (lists / 'train.txt').write_text('a\nb\n')
    (lists / 'val.txt').write_text('c\n')
    export = read_label_export(tmp_path, classes=TWO)
    assert not export.problems.has_errors
    assert {n: [p.stem for p in s.pairs.maps] for n, s in export.splits.items()} == dict(
        train=['a', 'b'], val=['c']
    )
    (lists / 'val.txt').write_text('c\nd\n')
    assert errors(tmp_path) == {'listed images that are not there': ['d']}


def test_values_are_judged_after_a_label_map(tmp_path):
    maps = [read_label_map(label_map(tmp_path / 'a.png', (0, 1, 2)))]
    problems = Problems()
    total = check_label_maps(maps, TWO, 'maps', problems, trains=True, label_map={2: 1, 1: 255})
    assert total == {0: 32, 255: 32, 1: 32}
    assert not problems.has_errors
