"""Folders of classes: the number of each is the one that MMPretrain gives it, or it is refused."""

import pytest
from label_folders import class_folders, image

from mmadapt.datasets.class_folders import make_missing_folders, read_class_folders


def errors(root):
    problems = read_class_folders(root).problems.found
    return {
        kind.title: details
        for kinds in problems.values()
        for kind, details in kinds.items()
        if kind.severity == 'error'
    }


def stock(root, split, classes=None, **options):
    """MMPretrain's own data set: image name by label."""
    datasets = pytest.importorskip('mmpretrain.datasets')
    metainfo = None if classes is None else dict(classes=classes)
    data = datasets.CustomDataset(
        data_root=str(root), data_prefix=split, metainfo=metainfo, **options
    )
    return [(item['img_path'].rpartition('/')[2], item['gt_label']) for item in data]


def test_classes_are_numbered_as_mmpretrain_numbers_them(tmp_path):
    names = ('b', 'a2', 'a10', 'A')
    export = read_class_folders(class_folders(tmp_path, names, names))
    assert not export.problems.has_errors
    assert export.classes == ('A', 'a10', 'a2', 'b')
    expected = [(f'{n}{i}.jpg', label) for label, n in enumerate(export.classes) for i in range(2)]
    assert stock(tmp_path, 'train') == expected


@pytest.mark.parametrize('name', ['.ipynb_checkpoints', '__pycache__', 'aa'])
def test_a_hidden_or_an_empty_folder_would_be_a_class_and_is_an_error(name, tmp_path):
    root = class_folders(tmp_path)
    (root / 'train' / name).mkdir()
    title = 'folders without an image' if name == 'aa' else 'hidden folders'
    assert errors(root)[title] == [name]
    # What it does there: c has the number of a fourth class.
    assert stock(root, 'train')[-1] == ('c1.jpg', 3)


def test_a_class_that_validation_lacks_is_an_error_and_an_empty_folder_mends_it(tmp_path):
    root = class_folders(tmp_path, val=('a', 'c'))
    title = 'classes of the training split that have no folder'
    assert errors(root) == {title: ['b']}
    datasets = pytest.importorskip('mmpretrain.datasets')
    assert stock(root, 'validation')[-1] == ('c1.jpg', 1)
    with pytest.raises(AssertionError, match='number of subfolders'):
        datasets.CustomDataset(
            data_root=str(root), data_prefix='validation', metainfo=dict(classes=('a', 'b', 'c'))
        )
    export = read_class_folders(root)
    assert make_missing_folders(export) == [root / 'validation' / 'b']
    assert not errors(root)
    assert stock(root, 'validation', export.classes)[-1] == ('c1.jpg', 2)


def test_a_class_that_training_lacks_is_an_error_with_the_nearest(tmp_path):
    root = class_folders(tmp_path, ('cat', 'dog'), ('cat', 'dog', 'dogs'))
    assert errors(root) == {'classes that the training split lacks': ['dogs; did you mean dog?']}


def test_suffixes_that_mmpretrain_leaves_out_are_named_in_the_config(tmp_path):
    root = class_folders(tmp_path)
    assert read_class_folders(root).extensions == ()
    image(root / 'train' / 'a' / 'x.WEBP')
    export = read_class_folders(root)
    assert export.splits['train'].counts == dict(a=3, b=2, c=2)
    assert len(stock(root, 'train')) == 6
    assert len(stock(root, 'train', extensions=export.extensions)) == 7


def test_broken_images_and_unequal_classes_are_said(tmp_path):
    root = class_folders(tmp_path)
    (root / 'train' / 'a' / 'a0.jpg').write_bytes(b'no image')
    assert 'images that cannot be read to their end' in errors(root)
    for index in range(30):
        image(root / 'train' / 'b' / f'more{index}.jpg')
    kinds = {kind.title: kind for kind in read_class_folders(root).problems.kinds('note')}
    assert any('more than ten times' in title for title in kinds)
