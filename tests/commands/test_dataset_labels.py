"""`mmadapt dataset` for label maps and folders of classes: what it writes is what is loaded."""

import shutil

import numpy as np
import pytest
from label_files import write_image
from label_folders import class_folders, image, label_map, label_maps
from mmengine.config import Config
from PIL import Image

from mmadapt.commands.dataset import main
from mmadapt.errors import UserError


def written(tmp_path, folder, *options, code=0):
    out = tmp_path / 'my_data.py'
    assert main([str(folder), '--out', str(out), *options]) == code
    return Config.fromfile(out) if code == 0 else None


def built(cfg, scope):
    """The data set that a library makes of a config, without a pipeline."""
    pytest.importorskip(scope)
    from mmengine.registry import DATASETS

    with DATASETS.switch_scope_and_registry(scope) as registry:
        registry.import_from_location()
        return registry.build({**cfg, 'pipeline': []})


NAMES = {
    f'my_data_{name}'
    for name in (
        *('data_root', 'classes', 'num_classes', 'metainfo', 'train', 'val', 'test'),
        *('val_evaluator', 'test_evaluator'),
    )
}


def test_label_maps_are_loaded_by_mmsegmentation_as_they_are_written(tmp_path):
    root = label_maps(tmp_path / 'x', (0, 1, 255))
    (root / 'classes.txt').write_text('bg 1 2 3\nfg 4 5 6\n')
    cfg = written(tmp_path, root)
    assert {*cfg.keys()} == NAMES
    assert cfg.my_data_metainfo == dict(classes=('bg', 'fg'), palette=[(1, 2, 3), (4, 5, 6)])
    assert cfg.my_data_test == cfg.my_data_val
    data = built(cfg.my_data_train, 'mmseg')
    assert [item['seg_map_path'][-10:] for item in data] == ['train0.png', 'train1.png']
    assert data.metainfo['palette'] == [(1, 2, 3), (4, 5, 6)]
    assert len(built(cfg.my_data_val, 'mmseg')) == 2


def test_lists_and_suffixes_of_a_folder_are_in_the_config(tmp_path):
    root = tmp_path / 'voc'
    for name in 'ab':
        image(root / 'JPEGImages' / f'{name}.png')
        label_map(root / 'SegmentationClass' / f'{name}_seg.png')
        (root / f'{dict(a="train", b="val")[name]}.txt').write_text(f'{name}\n')
    cfg = written(tmp_path, root, '--classes', 'bg,fg')
    (item,) = built(cfg.my_data_val, 'mmseg')
    assert item['img_path'] == f'{root}/JPEGImages/b.png'
    assert item['seg_map_path'] == f'{root}/SegmentationClass/b_seg.png'


def test_0_and_255_are_an_error_until_fix_writes_copies(tmp_path, capsys):
    root = label_maps(tmp_path / 'x', (0, 255))
    written(tmp_path, root, '--classes', 'bg,fg', code=1)
    assert 'only 0 and 255 with two classes' in capsys.readouterr().out
    assert not (tmp_path / 'my_data.py').exists()
    cfg = written(tmp_path, root, '--classes', 'bg,fg', '--fix')
    said = capsys.readouterr().out
    assert 'masks_fixed/train: 1 for 255' in said
    assert cfg.my_data_train.data_prefix.seg_map_path == 'masks_fixed/train/'
    copy = np.array(Image.open(root / 'masks_fixed' / 'train' / 'train0.png'))
    first = np.array(Image.open(root / 'masks' / 'train' / 'train0.png'))
    assert {*first.ravel().tolist()} == {0, 255}
    np.testing.assert_array_equal(copy, first == 255)
    # The same once more changes nothing and needs no --force.
    written(tmp_path, root, '--classes', 'bg,fg', '--fix')
    label_map(root / 'masks' / 'train' / 'train0.png', (255, 0))
    with pytest.raises(UserError, match='train0.png is there and differs'):
        written(tmp_path, root, '--classes', 'bg,fg', '--fix')
    written(tmp_path, root, '--classes', 'bg,fg', '--fix', '--force')


def test_a_config_that_differs_is_kept_and_the_command_that_overwrites_it_is_printed(
    tmp_path, capsys
):
    root, out = label_maps(tmp_path / 'x'), tmp_path / 'my_data.py'
    out.write_text('mine = 1\n')
    written(tmp_path, root, '--classes', 'bg,fg', code=1)
    said = ' '.join(capsys.readouterr().out.split())
    assert f'mmadapt dataset {root} --out {out} --classes bg,fg --force overwrites it' in said
    assert out.read_text() == 'mine = 1\n'


def test_fix_makes_numbers_of_listed_colors_and_of_gray(tmp_path):
    root = label_maps(tmp_path / 'x', number=1)
    (root / 'classes.txt').write_text('bg 0 0 0\nfg 128 0 0\n')
    for path in root.glob('masks/*/*.png'):
        labels = np.array(Image.open(path))
        Image.fromarray(np.stack([128 * labels, 0 * labels, 0 * labels], -1)).save(path)
    cfg = written(tmp_path, root, '--fix')
    assert cfg.my_data_val.data_prefix.seg_map_path == 'masks_fixed/validation/'
    copy = np.array(Image.open(root / 'masks_fixed' / 'train' / 'train0.png'))
    assert copy[0, :4].tolist() == [0, 1, 0, 1]
    gray = label_maps(tmp_path / 'gray', (0, 255), number=1, mode='RGB')
    written(tmp_path, gray, '--classes', 'bg,fg', '--fix', '--force')
    copy = np.array(Image.open(gray / 'masks_fixed' / 'train' / 'train0.png'))
    assert copy[0, :4].tolist() == [0, 1, 0, 1]


def test_a_single_class_is_refused_whatever_else_is_ignored(tmp_path, capsys):
    root = label_maps(tmp_path / 'x', (0, 255))
    written(tmp_path, root, '--classes', 'thing', code=1)
    said = ' '.join(capsys.readouterr().out.split())
    assert 'a single class' in said
    assert '--classes background,NAME' in said


def test_what_is_ignored_is_not_counted_before_the_classes_have_names(tmp_path, capsys):
    written(tmp_path, label_maps(tmp_path / 'x', (0, 255)), code=1)
    said = capsys.readouterr().out
    assert 'the maps have 0, 255' in said
    assert '0.0%' not in said


def test_a_map_of_more_colors_than_are_counted_is_not_fixed_into_background(tmp_path, capsys):
    root = label_maps(tmp_path / 'x', number=1)
    (root / 'classes.txt').write_text('bg 0 0 0\nfg 128 0 0\n')
    for path in root.glob('masks/*/*.png'):
        image(path, (40, 30))
        image(next((root / 'images' / path.parent.name).iterdir()), (40, 30))
    written(tmp_path, root, '--fix', code=1)
    said = capsys.readouterr().out
    assert 'train0.png: 3 channels, more than 1,024 colors' in ' '.join(said.split())
    assert '--fix wrote nothing' in said
    assert not (root / 'masks_fixed').exists()


def test_fix_writes_nothing_where_an_error_needs_a_decision(tmp_path, capsys):
    root = label_maps(tmp_path / 'x', (0, 255))
    (root / 'masks' / 'train' / 'train0.png').unlink()
    written(tmp_path, root, '--classes', 'bg,fg', '--fix', code=1)
    assert '--fix wrote nothing' in capsys.readouterr().out
    assert not (root / 'masks_fixed').exists()


def test_reduce_zero_label_is_in_the_config(tmp_path):
    root = label_maps(tmp_path / 'x', (0, 1, 2))
    written(tmp_path, root, '--classes', 'a,b', code=1)
    cfg = written(tmp_path, root, '--classes', 'a,b', '--reduce-zero-label')
    assert cfg.my_data_train.reduce_zero_label
    assert cfg.my_data_val.reduce_zero_label


def test_folders_of_classes_are_loaded_by_mmpretrain_as_they_are_written(tmp_path, capsys):
    root = class_folders(tmp_path / 'x', ('a2', 'a10', 'b'), ('a10', 'b'))
    image(root / 'train' / 'b' / 'more.webp')
    written(tmp_path, root, code=1)
    cfg = written(tmp_path, root, '--fix')
    assert 'validation/a2, empty' in capsys.readouterr().out
    assert {*cfg.keys()} == NAMES
    assert cfg.my_data_classes == ('a10', 'a2', 'b')
    data = built(cfg.my_data_train, 'mmpretrain')
    assert [item['gt_label'] for item in data] == [0, 0, 1, 1, 2, 2, 2]
    assert [item['gt_label'] for item in built(cfg.my_data_val, 'mmpretrain')] == [0, 0, 2, 2]


@pytest.mark.parametrize('kind', ['seg', 'cls'])
def test_the_lines_that_are_printed_make_a_config_that_is_right(kind, tmp_path, capsys):
    pytest.importorskip('mmseg')
    from mmadapt.datasets import check_data

    if kind == 'seg':
        root, options = label_maps(tmp_path / 'x'), ['--classes', 'bg,fg']
    else:
        root, options = class_folders(tmp_path / 'x'), []
    written(tmp_path, root, *options)
    lines = capsys.readouterr().out.partition('for instance:\n')[2]
    (tmp_path / 'leaf.py').write_text(lines)
    cfg = Config.fromfile(tmp_path / 'leaf.py')
    check_data(cfg)
    assert len(built(cfg.val_dataloader.dataset, dict(seg='mmseg', cls='mmpretrain')[kind])) > 1
    if kind == 'cls':
        assert cfg.model.head.topk == (1,)
        assert cfg.val_evaluator.topk == (1,)


@pytest.mark.parametrize('kind', ['maps', 'classes'])
def test_training_images_are_drawn_and_the_config_is_the_same(kind, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if kind == 'maps':
        root, options = label_maps(tmp_path / 'x'), ['--classes', 'bg,fg']
    else:
        root, options = class_folders(tmp_path / 'y'), []
    sheet = tmp_path / f'work_dirs/{root.name}/training_images.jpg'
    assert main([root.name, *options]) == 0
    config = (tmp_path / f'configs/_base_/datasets/{root.name}.py').read_text()
    assert not sheet.exists()
    assert main([root.name, *options, '--show']) == 0
    said = ' '.join(capsys.readouterr().out.split())
    number, classes = (2, 2) if kind == 'maps' else (6, 3)
    assert (
        f'drew work_dirs/{root.name}/training_images.jpg: {number} training images with {classes} '
        f'of {classes} classes'
    ) in said
    assert Image.open(sheet).format == 'JPEG'
    assert main([root.name, *options, '--show', 'other.png']) == 0
    assert Image.open('other.png').size == Image.open(sheet).size
    assert (tmp_path / f'configs/_base_/datasets/{root.name}.py').read_text() == config
    with pytest.raises(UserError, match='--show sheet.gif is no image file'):
        main([root.name, *options, '--show', 'sheet.gif'])
    # Of a data set with errors too.
    sheet.unlink()
    next(root.rglob('train0.*' if kind == 'maps' else 'a0.*')).write_bytes(b'nothing')
    assert main([root.name, *options, '--show']) == 1
    assert sheet.is_file()


def test_names_that_no_font_can_write_are_numbers_and_printed(tmp_path, capsys, monkeypatch):
    from matplotlib import font_manager

    from mmadapt.datasets import fonts

    fonts._file_for.cache_clear()
    monkeypatch.setattr(font_manager, 'findSystemFonts', list)
    monkeypatch.chdir(tmp_path)
    names = ('cat', '\u732b', 'пёс')
    class_folders(tmp_path / 'x', names, names)
    assert main(['x', '--show']) == 0
    said = ' '.join(capsys.readouterr().out.split())
    assert 'no font here has the letters of some names: #2 is \u732b wrote' in said


@pytest.mark.parametrize('kind', ['maps', 'classes'])
def test_an_image_of_two_splits_is_found_though_no_byte_is_the_same(kind, tmp_path, capsys):
    first, second = 'images/train/train1.jpg', 'images/validation/validation0.jpg'
    if kind == 'maps':
        root, options = label_maps(tmp_path / 'x'), ['--classes', 'bg,fg']
    else:
        root, options = class_folders(tmp_path / 'x'), []
        first, second = 'train/b/b1.jpg', 'validation/c/c0.jpg'
    write_image(root / first, (12, 8), quality=95)
    copy = Image.open(root / first).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    copy.save(root / second, quality=90)
    written(tmp_path, root, *options)
    said = ' '.join(capsys.readouterr().out.split())
    assert 'warning: images that look the same as one of another split' in said
    assert f'{root / first} ~ {root / second}, mirrored' in said
    # Images of different classes are often numbered alike: their names say nothing.
    assert 'of the same name' not in said


@pytest.mark.parametrize(
    'option', [['--keep-unused'], ['--fix-ignored'], ['--classes', 'a'], ['--reduce-zero-label']]
)
def test_an_option_that_means_nothing_for_the_folder_is_refused(option, tmp_path):
    with pytest.raises(UserError, match=f'{option[0]} means nothing for folders of classes'):
        main([str(class_folders(tmp_path)), *option])


def test_a_folder_with_boxes_too_means_maps_only_where_classes_are_named(tmp_path, capsys):
    from mmadapt.datasets.label_layout import annotates_boxes

    root = label_maps(tmp_path / 'x')
    assert not annotates_boxes(root)
    (root / 'Annotations').mkdir()
    (root / 'Annotations' / 'train0.xml').write_text('<annotation/>')
    assert annotates_boxes(root)
    written(tmp_path, root, '--classes', 'bg,fg')
    (root / 'Annotations' / 'train0.xml').rename(root / 'Annotations' / 'instances_train.json')
    assert main([str(root)]) == 1
    written(tmp_path, root, '--classes', 'bg,fg')


def test_boxes_take_no_class_names(tmp_path):
    (tmp_path / 'train').mkdir()
    with pytest.raises(UserError, match='--classes means nothing for boxes'):
        main([str(tmp_path), '--classes', 'a,b'])


def test_folders_of_other_data_sets_are_not_taken_for_labels(tmp_path, capsys):
    """COCO beside its images, YOLO's images and labels, LabelMe's files: as before."""
    from mmadapt.datasets.label_layout import find_class_folders, find_map_folders

    coco = tmp_path / 'coco'
    for split in ('train', 'valid'):
        image(coco / split / 'a.jpg')
        (coco / split / '_annotations.coco.json').write_text('{}')
    yolo = tmp_path / 'yolo'
    image(yolo / 'train' / 'images' / 'a.jpg')
    (yolo / 'train' / 'labels').mkdir()
    (yolo / 'train' / 'labels' / 'a.txt').write_text('0 0.5 0.5 1 1')
    other = tmp_path / 'other'
    shutil.copytree(yolo / 'train' / 'images', other / 'images' / 'train')
    shutil.copytree(yolo / 'train' / 'labels', other / 'labels' / 'train')
    for folder in (coco, yolo, other, tmp_path / 'nowhere'):
        assert not find_map_folders(folder)
        assert not find_class_folders(folder)
