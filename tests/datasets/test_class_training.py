"""Before a training: folders of classes that MMPretrain would number otherwise are refused."""

import pytest
from label_folders import SPLITS, class_folders, image
from mmengine.config import Config

from mmadapt.datasets import check_classes_match_head, check_data, class_training
from mmadapt.errors import UserError

pytest.importorskip('mmpretrain')
ABC = ('a', 'b', 'c')


def config(root, classes=ABC, heads=3, val_classes=None, **changes):
    def dataset(split, names):
        metainfo = {} if names is None else dict(metainfo=dict(classes=names))
        return (
            dict(type='CustomDataset', data_root=str(root), data_prefix=split, **metainfo) | changes
        )

    return Config(
        dict(
            default_scope='mmpretrain',
            model=dict(type='ImageClassifier', head=dict(type='LinearClsHead', num_classes=heads)),
            data_preprocessor=dict(num_classes=heads),
            train_dataloader=dict(dataset=dataset('train', classes)),
            val_dataloader=dict(dataset=dataset('validation', val_classes or classes)),
            val_evaluator=dict(type='Accuracy', topk=(1,)),
        )
    )


@pytest.fixture
def said(monkeypatch):
    """The warnings, a line each."""
    lines = []
    monkeypatch.setattr(class_training, 'warn', lines.append)
    return lines


@pytest.mark.parametrize('classes', [ABC, None, ('ant', 'bee', 'cat')])
def test_right_folders_pass_with_their_names_with_none_and_renamed(classes, tmp_path, said):
    check_data(config(class_folders(tmp_path), classes))
    assert not said


@pytest.mark.parametrize('classes', [ABC, None])
def test_a_hidden_folder_is_refused_and_named(classes, tmp_path):
    root = class_folders(tmp_path)
    (root / 'train' / '.ipynb_checkpoints').mkdir()
    with pytest.raises(UserError, match=r'hidden folders in .*train/.*: .ipynb_checkpoints; each'):
        check_data(config(root, classes))


def test_a_validation_folder_that_lacks_a_class_is_refused(tmp_path):
    root = class_folders(tmp_path, val=('a', 'c'))
    with pytest.raises(UserError, match=r'no folder in \S+validation/, .*: b; .*--fix makes empty'):
        check_data(config(root, None))
    with pytest.raises(UserError, match=r"names of 3 classes, and .* 2 folders.* empty folder 'b'"):
        check_data(config(root))
    # A test alone is compared with what was trained.
    cfg = config(root, None)
    cfg.test_dataloader = cfg.val_dataloader
    with pytest.raises(UserError, match='test_dataloader.dataset: classes of the training split'):
        check_data(cfg, ('test',))


def test_an_empty_folder_keeps_the_numbers_and_passes(tmp_path):
    root = class_folders(tmp_path, val=('a', 'c'))
    (root / 'validation' / 'b').mkdir()
    check_data(config(root))


@pytest.mark.parametrize('split', SPLITS)
@pytest.mark.parametrize('classes', [ABC, None])
def test_a_split_without_an_image_is_one_line(classes, split, tmp_path):
    """Of folders of nothing, and of none: MMEngine stops where it joins an empty list."""
    root = class_folders(tmp_path)
    for file in (root / split).rglob('*.jpg'):
        file.rename(file.with_suffix('.webp'))
    message = rf'dataset: no image in a folder of \S+{split}, which hold 6 .webp: .*\.jpeg, \.jpg'
    with pytest.raises(UserError, match=message):
        check_data(config(root, classes))
    for file in (root / split).rglob('*.webp'):
        file.unlink()
    with pytest.raises(UserError, match=rf'no image in a folder of \S+{split}: each class is a'):
        check_data(config(root, classes))
    for folder in (root / split).iterdir():
        folder.rmdir()
    with pytest.raises(UserError, match=rf'no image in a folder of \S+{split}: each class is a'):
        check_data(config(root, classes))


def test_names_in_another_order_than_the_folders_are_refused(tmp_path):
    root = class_folders(tmp_path)
    with pytest.raises(UserError, match=r"another order .* write classes=\('a', 'b', 'c'\)"):
        check_data(config(root, ('b', 'a', 'c')))
    from mmpretrain.datasets import CustomDataset

    data = CustomDataset(
        data_root=str(root), data_prefix='train', metainfo=dict(classes=('b', 'a', 'c'))
    )
    assert (data.get_data_info(0)['img_path'][-6:], data.CLASSES[data.get_cat_ids(0)[0]]) == (
        'a0.jpg',
        'b',
    )


@pytest.mark.parametrize('classes', [ABC, None])
def test_a_head_of_another_number_is_refused_with_what_to_write(classes, tmp_path):
    root = class_folders(tmp_path)
    with pytest.raises(UserError) as error:
        check_data(config(root, classes, heads=1000))
    assert str(error.value).endswith(
        '--cfg-options model.head.num_classes=3 data_preprocessor.num_classes=3'
    )


def test_images_that_the_extensions_leave_out_are_said(tmp_path, said):
    root = class_folders(tmp_path)
    image(root / 'train' / 'a' / 'x.webp')
    check_data(config(root))
    assert len(said) == 1
    assert '1 images of' in said[0]
    assert '1 .webp' in said[0]
    said.clear()
    check_data(config(root, extensions=('.JPG', '.webp')))
    assert not said


def test_a_list_of_files_says_the_labels_and_no_folder(tmp_path):
    root = class_folders(tmp_path, val=('a', 'c'))
    (root / '.hidden').mkdir()
    for split in ('train', 'validation'):
        (root / split / 'list.txt').write_text('a/a0.jpg 0\nc/c0.jpg 2\n')
    cfg = config(root)
    for loop, split in dict(train='train', val='validation').items():
        cfg[f'{loop}_dataloader'].dataset.ann_file = f'{split}/list.txt'
    check_data(cfg)


@pytest.mark.parametrize(
    'name',
    [
        'resnet/resnet50_8xb32_in1k.py',
        'swin_transformer/swin-tiny_16xb64_in1k.py',
        'resnet/resnet18_8xb16_cifar10.py',
    ],
)
def test_stock_configs_fit_their_own_classes(name):
    from mmengine.hub import get_config

    check_classes_match_head(get_config(f'mmpretrain::{name}'), ('train', 'val'))
