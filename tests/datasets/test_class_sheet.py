"""Sheets of folders of classes: images of every class, with its name."""

import shutil
from collections import Counter

from label_folders import class_folders, image
from PIL import Image

from mmadapt.datasets import class_sheet as module
from mmadapt.datasets.class_folders import read_class_folders
from mmadapt.datasets.class_sheet import class_sheet
from mmadapt.datasets.sheets import COUNT


def captions(sheet):
    return [tuple(marks.caption.split('\n')) for _, marks in sheet.images]


def test_each_class_has_as_many_images_from_all_of_its_folder(tmp_path):
    root = class_folders(tmp_path)
    for index in range(97):
        image(root / 'train' / 'b' / 'deeper' / f'x{index:02d}.jpg')
    sheet = class_sheet(read_class_folders(root))
    found = captions(sheet)
    assert Counter(name for name, _ in found) == dict(a=2, b=8, c=2)
    assert found == sorted(found)
    assert found[:3] == [('a', 'a0.jpg'), ('a', 'a1.jpg'), ('b', 'b0.jpg')]
    places = [int(name[8:10]) for _, name in found if name.startswith('deeper/')]
    assert max(places) > 80
    assert (sheet.number, sheet.shown, sheet.classes) == (103, 3, ('a', 'b', 'c'))
    for path, marks in sheet.images:
        assert path == root / 'train' / marks.caption.replace('\n', '/')


def test_every_class_is_seen_also_where_there_are_many(tmp_path):
    names = [f'class{i:03d}' for i in range(100)]
    for split in ('train', 'val'):
        for name in names:
            path = tmp_path / split / name / f'{name}.png'
            path.parent.mkdir(parents=True)
            Image.new('L', (4, 4)).save(path)
    sheet = class_sheet(read_class_folders(tmp_path))
    assert [name for name, _ in captions(sheet)] == names
    assert sheet.row_height < 200


def test_there_is_a_number_beyond_which_classes_are_left_out_and_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(module, 'MOST_CLASSES', 2)
    sheet = class_sheet(read_class_folders(class_folders(tmp_path)))
    assert {name for name, _ in captions(sheet)} == {'a', 'b'}
    assert (sheet.shown, sheet.classes) == (2, ('a', 'b', 'c'))


def test_an_empty_folder_is_no_class_that_is_shown(tmp_path):
    root = class_folders(tmp_path)
    shutil.rmtree(root / 'train' / 'b')
    (root / 'train' / 'b').mkdir()
    sheet = class_sheet(read_class_folders(root))
    assert {name for name, _ in captions(sheet)} == {'a', 'c'}
    assert (sheet.shown, sheet.classes) == (2, ('a', 'b', 'c'))
    assert COUNT == 24
    sheet.write(tmp_path / 'sheet.jpg', 'title')
    assert Image.open(tmp_path / 'sheet.jpg').format == 'JPEG'
