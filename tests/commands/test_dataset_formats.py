"""`mmadapt dataset` on labels of other formats, and the images that it shows."""

import builtins
import json
import sys

import pytest
from label_files import write_image, write_text
from mmengine.config import Config
from PIL import Image

from mmadapt.commands.dataset import main
from mmadapt.datasets import check_data
from mmadapt.errors import UserError

YAML = 'train: images/train\nval: images/val\nnames: [zebra, ant]\n'


@pytest.fixture
def yolo(tmp_path, monkeypatch):
    """A folder of three training images and two others, one of them without boxes."""
    pytest.importorskip('globox')
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / 'my zoo'
    for split, count in (('train', 3), ('val', 2)):
        for number in range(count):
            write_image(folder / f'images/{split}/{number}{split}.jpg')
            boxes = f'{number % 2} 0.5 0.5 0.5 0.5\n' if number < 2 else ''
            write_text(folder / f'labels/{split}/{number}{split}.txt', boxes)
    write_text(folder / 'data.yaml', YAML)
    return folder


def coco_folder(folder):
    """The same as COCO files."""
    for split in ('train', 'val'):
        write_image(folder / split / f'{split}.jpg')
        box = dict(id=1, image_id=1, category_id=1, bbox=[5, 5, 90, 40], area=3600, iscrowd=0)
        content = dict(
            images=[dict(id=1, file_name=f'{split}.jpg', width=200, height=100)],
            annotations=[box],
            categories=[dict(id=1, name='cat')],
        )
        write_text(folder / split / 'annotations.json', json.dumps(content))
    return folder


def test_the_config_loads_every_image_and_box_in_mmdetection(yolo, tmp_path, capsys):
    from mmdet.registry import DATASETS

    assert main(['my zoo']) == 0
    said = ' '.join(capsys.readouterr().out.split())
    assert (
        'my zoo is in YOLO format, written as COCO into mmadapt/train.json, mmadapt/val.json; '
        'classes in the order of my zoo/data.yaml: zebra, ant' in said
    )
    cfg = Config.fromfile('configs/_base_/datasets/my_zoo.py')
    check_data(
        Config(
            dict(
                model=dict(bbox_head=dict(num_classes=2)),
                train_dataloader=dict(dataset=cfg.my_zoo_train),
                val_dataloader=dict(dataset=cfg.my_zoo_val),
                val_evaluator=cfg.my_zoo_val_evaluator,
            )
        )
    )
    dataset = DATASETS.build(dict(cfg.my_zoo_train, _scope_='mmdet'))
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    found = [[(b['bbox_label'], b['bbox']) for b in info['instances']] for info in infos]
    assert found == [[(0, [50, 25, 150, 75])], [(1, [50, 25, 150, 75])], []]
    assert dataset.metainfo['classes'] == ('zebra', 'ant')


def test_a_second_time_nothing_changes_and_changed_labels_need_force(yolo, capsys):
    files = [yolo / 'mmadapt/train.json', yolo / 'mmadapt/val.json']
    assert main(['my zoo']) == 0
    before = [path.read_bytes() for path in files]
    assert main(['my zoo']) == 0
    assert [path.read_bytes() for path in files] == before
    write_text(yolo / 'labels/val/0val.txt', '1 0.5 0.5 0.2 0.2\n')
    with pytest.raises(UserError, match=r'mmadapt/val.json is there and differs; --force over'):
        main(['my zoo'])
    assert [path.read_bytes() for path in files] == before
    assert main(['my zoo', '--force']) == 0
    assert json.loads(files[1].read_text())['annotations'][0]['bbox'] == [80, 40, 40, 20]


def test_errors_in_labels_write_nothing(yolo, capsys):
    write_text(yolo / 'labels/val/0val.txt', '9 0.5 0.5 0.2 0.2\n0 1 2\n')
    assert main(['my zoo', '--show']) == 1
    said = capsys.readouterr().out
    assert 'error: class numbers without a name: line 1: 9 0.5 0.5 0.2 0.2; there are 2' in said
    assert '2 errors: no config written' in said
    assert sorted(path.name for path in yolo.iterdir()) == ['data.yaml', 'images', 'labels']
    assert [path.name for path in yolo.parent.iterdir()] == ['my zoo']


def test_what_is_said_of_labels_stays_with_the_rest(yolo, capsys):
    (yolo / 'labels/train/2train.txt').unlink()
    Image.open(yolo / 'images/train/0train.jpg').resize((100, 50)).save(yolo / 'images/val/x.png')
    assert main(['my zoo', '--fix']) == 0
    said = capsys.readouterr().out
    assert said.count('note: images without a label file') == 2
    assert 'train/0train.jpg ~ my zoo/images/val/x.png' in said


def test_fixes_are_made_of_the_written_files(yolo, capsys):
    write_text(yolo / 'labels/train/0train.txt', '0 0.5 0.5 0.5 0.5\n1 0.5 0.5 0 0.5\n')
    assert main(['my zoo']) == 1
    assert 'boxes without a positive width' in capsys.readouterr().out
    assert main(['my zoo', '--fix', '--force']) == 0
    cfg = Config.fromfile('configs/_base_/datasets/my_zoo.py')
    assert cfg.my_zoo_train.ann_file == 'mmadapt/train_annotations_fixed.json'
    assert cfg.my_zoo_val.ann_file == 'mmadapt/val.json'


def test_a_read_only_folder_says_how_to_go_on(yolo, capsys):
    yolo.chmod(0o555)
    assert main(['my zoo']) == 1
    yolo.chmod(0o755)
    said = capsys.readouterr().out
    assert 'my zoo/mmadapt/train.json cannot be written: ' in said
    assert 'my zoo is marked read-only; where nothing can be written beside' in said
    assert 'cp -rs' in said
    assert not (yolo / 'mmadapt').exists()


def test_without_globox_there_is_one_line(tmp_path, monkeypatch):
    write_image(tmp_path / 'images/train/a.jpg')
    write_text(tmp_path / 'labels/train/a.txt', '')
    write_text(tmp_path / 'data.yaml', YAML)
    known = builtins.__import__

    def missing(name, *rest, **options):
        if name.partition('.')[0] == 'globox':
            raise ModuleNotFoundError("No module named 'globox'", name='globox')
        return known(name, *rest, **options)

    monkeypatch.delitem(sys.modules, 'globox', raising=False)
    monkeypatch.setattr(builtins, '__import__', missing)
    with pytest.raises(UserError) as error:
        main([str(tmp_path)])
    assert str(error.value) == (
        f'{tmp_path} holds YOLO labels, which are read by globox, and it is not installed: '
        'mmadapt install formats'
    )


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['--val-fraction', '0.2'], 'is read as COCO, whose splits are files of their own'),
        (['--seed', '3'], '--seed chooses the images of --val-fraction, which is not given'),
        (['--show', 'sheet.gif'], '--show sheet.gif is no image file: its name ends in .jpg'),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(words, said, tmp_path):
    folder = coco_folder(tmp_path / 'pets')
    with pytest.raises(UserError, match=said):
        main([str(folder), '--out', str(tmp_path / 'pets.py'), *words])
    assert not (tmp_path / 'pets.py').exists()


def test_annotation_files_that_are_named_are_read_beside_other_labels(tmp_path, capsys):
    folder = coco_folder(tmp_path / 'pets')
    write_text(folder / 'data.yaml', YAML)
    for words in (['--train-ann', 'train/annotations.json'], []):
        assert main([str(folder), '--out', str(tmp_path / 'pets.py'), '--force', *words]) == 0
        assert 'YOLO' not in capsys.readouterr().out


def test_training_images_are_drawn_where_they_are_looked_for(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    coco_folder(tmp_path / 'pets')
    assert main(['pets']) == 0
    config = (tmp_path / 'configs/_base_/datasets/pets.py').read_text()
    sheet = tmp_path / 'work_dirs/pets/training_images.jpg'
    assert not sheet.exists()
    # It is no part of what makes the config, which is not changed by it.
    assert main(['pets', '--show']) == 0
    assert 'drew work_dirs/pets/training_images.jpg: 1 training images with 1 of 1 classes' in (
        ' '.join(capsys.readouterr().out.split())
    )
    assert Image.open(sheet).format == 'JPEG'
    assert main(['pets', '--show', 'other.png']) == 0
    assert main(['pets', '--show=other.png']) == 0
    assert Image.open('other.png').size == Image.open(sheet).size
    assert (tmp_path / 'configs/_base_/datasets/pets.py').read_text() == config


def test_another_file_is_not_drawn_over(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    coco_folder(tmp_path / 'pets')
    (tmp_path / 'mine.jpg').write_text('mine')
    with pytest.raises(UserError, match='mine.jpg is there; --force overwrites it'):
        main(['pets', '--show', 'mine.jpg'])
    assert (tmp_path / 'mine.jpg').read_text() == 'mine'
    assert main(['pets', '--show', 'mine.jpg', '--force']) == 0
    # The same again is no change.
    assert main(['pets', '--show', 'mine.jpg']) == 0


def test_images_are_drawn_of_a_data_set_with_errors_too(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = coco_folder(tmp_path / 'pets')
    path = folder / 'train/annotations.json'
    path.write_text(path.read_text().replace('"width": 200', '"width": 300'))
    assert main(['pets', '--show']) == 1
    assert (tmp_path / 'work_dirs/pets/training_images.jpg').is_file()
