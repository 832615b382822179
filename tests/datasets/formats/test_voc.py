"""Pascal VOC labels: pixels counted from 1, difficult objects, and what exporters leave out."""

import json

import pytest
from label_files import annotations, classes, read_coco, write_image, write_text
from label_folders import label_map
from mmengine.config import Config

from mmadapt.commands.dataset import main
from mmadapt.datasets.formats import convert
from mmadapt.datasets.formats.labeled import BAD_LABEL, LEFT_OUT, NO_IMAGE, UNLABELED, UNREADABLE
from mmadapt.datasets.formats.voc import DIFFICULT, FROM_ONE, IN_NO_LIST, LABEL_MAPS
from mmadapt.errors import UserError

pytest.importorskip('globox')

SIZE = '<size><width>200</width><height>100</height><depth>3</depth></size>'


def thing(corners, name='dog', more=''):
    tags = zip(('xmin', 'ymin', 'xmax', 'ymax'), corners, strict=True)
    box = ''.join(f'<{tag}>{value}</{tag}>' for tag, value in tags)
    return f'<object><name>{name}</name>{more}<bndbox>{box}</bndbox></object>'


def xml(*objects, size=SIZE, name='<filename>a.jpg</filename>'):
    return f'<?xml version="1.0"?>\n<annotation>{name}{size}{"".join(objects)}</annotation>\n'


def make(folder, *objects, val=None, **options):
    """Write the layout of VOC2007 with an image a for training and an image v for validation."""
    for stem, text in (
        ('a', xml(*objects, **options)),
        ('v', val or xml(thing((1, 1, 200, 100)))),
    ):
        write_image(folder / f'JPEGImages/{stem}.jpg')
        write_text(folder / f'Annotations/{stem}.xml', text)
    write_text(folder / 'ImageSets/Main/train.txt', 'a\n')
    write_text(folder / 'ImageSets/Main/val.txt', 'v\n')
    # The lists of one class, which are no splits.
    write_text(folder / 'ImageSets/Main/dog_train.txt', 'a  1\n')
    return folder


def run(folder, fraction=None, overwrite=False):
    return convert(folder, ('train', 'val', 'test'), fraction, 0, overwrite)


def kinds(done):
    return {k: details for kinds in done.problems.found.values() for k, details in kinds.items()}


def test_pixels_are_counted_from_1_as_in_voc(tmp_path):
    done = run(make(tmp_path, thing((1, 1, 200, 100)), thing((11, 21, 30, 60), 'cat')))
    assert read_coco(tmp_path) == {
        'JPEGImages/a.jpg': [(200, 100), ('dog', 0, 0, 200, 100), ('cat', 10, 20, 20, 40)]
    }
    assert classes(tmp_path) == ['cat', 'dog']
    assert done.order == 'sorted'
    assert kinds(done).keys() == {FROM_ONE}


@pytest.mark.parametrize('corners', [(0, 0, 199, 99), (10.5, 20.25, 30, 60), (-1, 1, 3, 3)])
def test_other_ways_to_count_are_taken_as_they_are(corners, tmp_path):
    """One such box is enough, also in another split: an exporter counts one way."""
    x1, y1, x2, y2 = corners
    done = run(make(tmp_path, thing(corners), val=xml(thing((1, 1, 100, 100)))))
    assert read_coco(tmp_path)['JPEGImages/a.jpg'][1:] == [('dog', x1, y1, x2 - x1, y2 - y1)]
    assert read_coco(tmp_path, 'val')['JPEGImages/v.jpg'][1:] == [('dog', 1, 1, 99, 99)]
    assert not kinds(done)


def test_boxes_and_marks_are_those_that_mmdetection_reads(tmp_path):
    """Its own reader takes a pixel from all four corners, so that boxes end a pixel earlier."""
    from mmdet.datasets import CocoDataset, XMLDataset

    make(
        tmp_path,
        thing((11, 21, 30, 60), 'cat', '<difficult>0</difficult>'),
        thing((1, 1, 200, 100), 'dog', '<difficult>1</difficult>'),
        thing((5, 5, 50, 50), 'dog'),
    )
    done = run(tmp_path)
    metainfo = dict(classes=('cat', 'dog'))
    stock = XMLDataset(
        ann_file='ImageSets/Main/train.txt',
        data_root=str(tmp_path),
        data_prefix=dict(sub_data_root=''),
        metainfo=metainfo,
        pipeline=[],
        test_mode=True,
    )
    written = CocoDataset(
        ann_file='mmadapt/train.json',
        data_root=str(tmp_path),
        data_prefix=dict(img=''),
        metainfo=metainfo,
        pipeline=[],
    )
    (one,), (other,) = (data.load_data_list() for data in (stock, written))
    assert (one['width'], one['height']) == (other['width'], other['height'])
    assert len(one['instances']) == len(other['instances']) == 3
    for theirs, ours in zip(one['instances'], other['instances'], strict=True):
        assert ours['bbox_label'] == theirs['bbox_label']
        assert ours['ignore_flag'] == theirs['ignore_flag']
        assert ours['bbox'] == [*theirs['bbox'][:2], *(v + 1 for v in theirs['bbox'][2:])]
    assert [a['iscrowd'] for a in annotations(tmp_path)] == [0, 1, 0]
    assert DIFFICULT in kinds(done)


def test_the_size_is_the_files_or_else_the_images(tmp_path):
    boxes = thing((1, 1, 9, 9))
    said = xml(boxes, size='<size><width>20</width><height>10</height></size>')
    run(make(tmp_path, boxes, size='<size><width>0</width><height>0</height></size>', val=said))
    assert read_coco(tmp_path)['JPEGImages/a.jpg'][0] == (200, 100)
    # Said wrong: the checks of the images will say so.
    assert read_coco(tmp_path, 'val')['JPEGImages/v.jpg'][0] == (20, 10)
    run(make(tmp_path, boxes, size=''), overwrite=True)
    assert read_coco(tmp_path)['JPEGImages/a.jpg'][0] == (200, 100)


def test_an_image_without_objects_stays(tmp_path):
    done = run(make(tmp_path))
    assert read_coco(tmp_path) == {'JPEGImages/a.jpg': [(200, 100)]}
    assert kinds(done).keys() == {FROM_ONE}


@pytest.mark.parametrize('name', ['', '<filename>old name.png</filename>', '<filename/>'])
def test_an_image_is_found_by_the_name_of_its_label_file(name, tmp_path):
    run(make(tmp_path, thing((1, 1, 9, 9)), name=name))
    assert list(read_coco(tmp_path)) == ['JPEGImages/a.jpg']


def test_an_image_of_another_name_is_found_by_what_the_file_says(tmp_path):
    make(tmp_path, thing((1, 1, 9, 9)), name='<filename>Photo 1.JPG</filename>')
    (tmp_path / 'JPEGImages/a.jpg').rename(tmp_path / 'JPEGImages/Photo 1.JPG')
    done = run(tmp_path)
    assert list(read_coco(tmp_path)) == ['JPEGImages/Photo 1.JPG']
    assert UNLABELED not in kinds(done)


def test_label_maps_beside_the_boxes_are_said_and_what_is_said_reads_them(tmp_path):
    folder = make(tmp_path / 'voc', thing((1, 1, 200, 100)))
    assert LABEL_MAPS not in kinds(run(folder))
    (folder / 'SegmentationClass').mkdir()
    assert LABEL_MAPS not in kinds(run(folder))
    for stem, split in (('a', 'train'), ('v', 'val')):
        label_map(folder / f'SegmentationClass/{stem}.png', (0, 1), (200, 100), 'P')
        write_text(folder / f'ImageSets/Segmentation/{split}.txt', f'{stem}\n')
    assert len(kinds(run(folder))[LABEL_MAPS]) == 1
    out = tmp_path / 'voc.py'
    assert '--classes background,NAME,...' in LABEL_MAPS.remedy
    assert main([str(folder), '--classes', 'background,dog', '--out', str(out)]) == 0
    cfg = Config.fromfile(out)
    assert cfg.voc_train.data_prefix == dict(
        img_path='JPEGImages/', seg_map_path='SegmentationClass/'
    )
    assert cfg.voc_val.ann_file == 'ImageSets/Segmentation/val.txt'


def test_what_belongs_to_nothing_is_said(tmp_path):
    make(tmp_path, thing((1, 1, 9, 9)))
    write_text(tmp_path / 'Annotations/alone.xml', xml())
    write_text(tmp_path / 'Annotations/left.xml', xml())
    write_image(tmp_path / 'JPEGImages/left.jpg')
    write_image(tmp_path / 'JPEGImages/bare.jpg')
    write_text(tmp_path / 'ImageSets/Main/train.txt', 'a\nalone\ngone\n\n')
    found = run(tmp_path).problems.found
    assert found[f'{tmp_path}/Annotations'] == {
        IN_NO_LIST: ['left.xml'],
        NO_IMAGE: ['alone.xml'],
    }
    assert found[f'{tmp_path}/JPEGImages'] == {UNLABELED: ['bare.jpg']}
    assert found[f'{tmp_path}/ImageSets/Main/train.txt'] == {
        UNLABELED: [f'gone: no {tmp_path}/Annotations/gone.xml']
    }


BAD = {
    thing((30, 1, 10, 20)): (BAD_LABEL, "object 'dog': xmax must be greater than xmin"),
    thing(('x', 1, 10, 20)): (BAD_LABEL, "object 'dog': Syntax error"),
    '<object><name>dog</name></object>': (BAD_LABEL, "object 'dog': Syntax error"),
    '<object>': (UNREADABLE, 'mismatched tag'),
}


@pytest.mark.parametrize('text', BAD)
def test_what_cannot_be_read_is_an_error_with_its_file(text, tmp_path):
    done = run(make(tmp_path, text))
    kind, said = BAD[text]
    assert said in done.problems.found[f'{tmp_path}/Annotations/a.xml'][kind][0]
    assert not done.files
    assert not (tmp_path / 'mmadapt').exists()


def test_classes_are_sorted_whatever_their_order_in_the_files(tmp_path):
    names = ['tv', 'Ant', 'cow', 'bird', 'zebra', 'dog', 'mule', 'ox']
    run(make(tmp_path, *(thing((1, 1, 9, 9), name) for name in names)))
    assert classes(tmp_path) == sorted(names)


def test_rotated_boxes_of_another_tool_are_left_out_and_said(tmp_path):
    turned = '<object><name>dog</name><robndbox><cx>9</cx></robndbox></object>'
    done = run(make(tmp_path, turned, thing((1, 1, 9, 9))))
    assert len(annotations(tmp_path)) == 1
    assert kinds(done)[LEFT_OUT] == ['a.xml: dog, a rotated box']


def test_encodings_are_those_that_the_file_says(tmp_path):
    make(tmp_path)
    text = xml(thing((1, 1, 9, 9), 'Mädchen')).replace('"1.0"', '"1.0" encoding="iso-8859-1"')
    (tmp_path / 'Annotations/a.xml').write_bytes(text.encode('iso-8859-1'))
    run(tmp_path)
    assert 'Mädchen' in classes(tmp_path)


@pytest.mark.parametrize('layout', ['beside', 'folders'])
def test_folders_of_splits_are_read(layout, tmp_path):
    for folder, corners in (('train', (1, 1, 9, 9)), ('valid', (1, 1, 20, 20))):
        names = ('', '') if layout == 'beside' else ('Annotations/', 'JPEGImages/')
        write_text(tmp_path / f'{folder}/{names[0]}{folder}.xml', xml(thing(corners)))
        write_image(tmp_path / f'{folder}/{names[1]}{folder}.png')
    run(tmp_path)
    ((name, found),) = read_coco(tmp_path).items()
    assert name == f'train/{"" if layout == "beside" else "JPEGImages/"}train.png'
    assert found[1:] == [('dog', 0, 0, 9, 9)]
    ((_, found),) = read_coco(tmp_path, 'val').items()
    assert found[1:] == [('dog', 0, 0, 20, 20)]


def test_trainval_stands_for_a_missing_train_and_lists_may_have_marks(tmp_path):
    make(tmp_path, thing((1, 1, 9, 9)))
    (tmp_path / 'ImageSets/Main/train.txt').rename(tmp_path / 'ImageSets/Main/trainval.txt')
    write_text(tmp_path / 'ImageSets/Main/trainval.txt', 'a -1\na 1\n')
    run(tmp_path)
    assert list(read_coco(tmp_path)) == ['JPEGImages/a.jpg']


def test_one_folder_without_lists_needs_a_fraction(tmp_path):
    for number in range(20):
        write_image(tmp_path / f'{number}.jpg', (20, 10))
        write_text(tmp_path / f'{number}.xml', xml(thing((1, 1, 9, 9)), size=''))
    with pytest.raises(UserError, match=r'val-fraction 0.2 .* or list them in ImageSets/Main'):
        run(tmp_path)
    run(tmp_path, fraction=0.3)
    assert len(read_coco(tmp_path)) + len(read_coco(tmp_path, 'val')) == 20
    assert json.loads((tmp_path / 'mmadapt/val.json').read_text())['annotations'][0]['id'] == 1
