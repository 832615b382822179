"""`mmadapt dataset`: what it writes is what MMDetection loads, or nothing."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import rgb_to_hsv
from mmengine.config import Config
from PIL import Image

from mmadapt.commands.dataset import main
from mmadapt.errors import UserError

REPO = Path(__file__).parents[2]
STOCK = 'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py'


@pytest.fixture
def export(tmp_path):
    """An export of two splits; categories listed by descending id, a third image without boxes."""
    for seed, split in enumerate(('train', 'valid')):
        folder = tmp_path / 'My Pets-2' / split
        folder.mkdir(parents=True)
        for i in range(3):
            Image.new('RGB', (64, 48), (80 * i, 99 * seed, 0)).save(folder / f'{split}{i}.jpg')
        boxes = [(0, 7, [0, 0, 20, 20]), (1, 7, [4, 4, 9, 9]), (1, 3, [1, 1, 50, 40])]
        (folder / '_annotations.coco.json').write_text(
            json.dumps(
                dict(
                    images=[
                        dict(id=i, file_name=f'{split}{i}.jpg', width=64, height=48)
                        for i in range(3)
                    ],
                    annotations=[
                        dict(
                            id=i,
                            image_id=im,
                            category_id=cat,
                            bbox=box,
                            iscrowd=0,
                            area=box[2] * box[3],
                        )
                        for i, (im, cat, box) in enumerate(boxes, 1)
                    ],
                    categories=[dict(id=7, name='dog'), dict(id=3, name='traffic "light"')],
                )
            )
        )
    return tmp_path / 'My Pets-2'


def leaf(tmp_path, base, prefix):
    """A leaf config that binds the written file to a stock config."""
    path = tmp_path / 'leaf.py'
    path.write_text(f"""
_base_ = ['{STOCK}', '{base}']
train_dataloader = dict(dataset=_base_.{prefix}_train)
val_dataloader = dict(dataset=_base_.{prefix}_val)
test_dataloader = dict(dataset=_base_.{prefix}_test)
val_evaluator = _base_.{prefix}_val_evaluator
test_evaluator = _base_.{prefix}_test_evaluator
model = dict(bbox_head=dict(num_classes=_base_.{prefix}_num_classes))
""")
    return Config.fromfile(path)


def build(cfg):
    from mmdet.registry import DATASETS

    return DATASETS.build(cfg)


def loaded(dataset):
    """Boxes by class name as MMDetection has them, from the labels it will train on."""
    names = dataset.metainfo['classes']
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    return Counter(names[box['bbox_label']] for info in infos for box in info['instances'])


def test_the_written_file_loads_with_a_stock_config(export, tmp_path, capsys):
    out = tmp_path / 'out' / 'my_pets.py'
    assert main([str(export), '--out', str(out)]) == 0
    said = capsys.readouterr().out
    assert 'wrote' in said
    assert 'ascending id' in said
    names = [line.split(' = ')[0] for line in out.read_text().splitlines() if ' = ' in line]
    assert all(name.startswith('my_pets_') for name in names)
    cfg = leaf(tmp_path, out, 'my_pets')
    train, val = build(cfg.train_dataloader.dataset), build(cfg.val_dataloader.dataset)
    # Also the image without a box; labels in the file's order, which is not that of the ids.
    assert (len(train), len(val)) == (3, 3)
    assert loaded(train) == loaded(val) == {'dog': 2, 'traffic "light"': 1}
    assert Path(train.get_data_info(0)['img_path']).is_file()
    assert len(train.pipeline.transforms) > 3
    assert cfg.model.bbox_head.num_classes == 2
    assert len(set(map(tuple, train.metainfo['palette']))) == 2


def test_training_start_checks_accept_the_written_file(export, tmp_path):
    from mmadapt.datasets import check_data

    out = tmp_path / 'my_pets.py'
    main([str(export), '--out', str(out)])
    check_data(leaf(tmp_path, out, 'my_pets'))


def test_fixed_copies_are_used_and_the_originals_stay(export, tmp_path, capsys):
    before = {path: path.read_bytes() for path in export.rglob('*.json')}
    out = tmp_path / 'pets.py'
    assert main([str(export), '--fix', '--out', str(out)]) == 0
    assert {path: path.read_bytes() for path in before} == before
    dataset = build(leaf(tmp_path, out, 'pets').train_dataloader.dataset)
    assert dataset.ann_file.endswith('train/annotations_fixed.json')
    assert dataset.metainfo['classes'] == ('traffic "light"', 'dog')
    assert loaded(dataset) == {'dog': 2, 'traffic "light"': 1}


def test_a_read_only_folder_is_not_written_even_by_root(export, tmp_path, capsys):
    (export / 'valid').chmod(0o555)
    assert main([str(export), '--fix', '--out', str(tmp_path / 'pets.py')]) == 1
    (export / 'valid').chmod(0o755)
    assert 'read-only' in capsys.readouterr().out
    assert not list(export.rglob('*fixed.json'))
    assert not (tmp_path / 'pets.py').exists()


def test_fixing_a_folder_of_links_leaves_what_they_point_to(export, tmp_path):
    links = tmp_path / 'links'
    for split in ('train', 'valid'):
        (links / split).mkdir(parents=True)
        (export / split / 'annotations_fixed.json').write_text('mine')
        for path in (export / split).iterdir():
            (links / split / path.name).symlink_to(path)
    assert main([str(links), '--fix', '--out', str(tmp_path / 'pets.py')]) == 0
    assert (export / 'train' / 'annotations_fixed.json').read_text() == 'mine'
    assert len(json.loads((links / 'train' / 'annotations_fixed.json').read_text())['images']) == 3


def test_a_corrected_copy_that_somebody_has_changed_is_overwritten_only_by_force(export, tmp_path):
    words = [str(export), '--fix', '--out', str(tmp_path / 'pets.py')]
    assert main(words) == 0
    assert main(words) == 0  # the same again
    copy = export / 'train' / 'annotations_fixed.json'
    written = copy.read_text()
    copy.write_text('mine')
    with pytest.raises(UserError, match='annotations_fixed.json is there and differs; --force'):
        main(words)
    assert copy.read_text() == 'mine'
    assert main([*words, '--force']) == 0
    assert copy.read_text() == written


def test_broken_input_lists_everything_and_writes_nothing(export, tmp_path, capsys):
    (export / 'train' / 'train0.jpg').unlink()
    ann = export / 'valid' / '_annotations.coco.json'
    data = json.loads(ann.read_text())
    data['annotations'][0]['category_id'] = 9
    ann.write_text(json.dumps(data))
    out = tmp_path / 'pets.py'
    assert main([str(export), '--fix', '--out', str(out)]) == 1
    said = capsys.readouterr().out
    assert 'train0.jpg' in said
    assert 'category_id 9' in said
    assert '2 errors' in said
    assert not out.exists()
    assert not list(export.rglob('*fixed.json'))


def test_an_existing_file_is_overwritten_only_by_force(export, tmp_path, capsys):
    out = tmp_path / 'pets.py'
    out.write_text('mine')
    assert main([str(export), '--out', str(out)]) == 1
    assert out.read_text() == 'mine'
    assert '--force' in capsys.readouterr().out
    assert main([str(export), '--out', str(out), '--force']) == 0
    text = out.read_text()
    assert main([str(export), '--out', str(out)]) == 0
    assert out.read_text() == text


def test_the_folder_gives_the_names(export, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(['My Pets-2']) == 0
    text = (tmp_path / 'configs/_base_/datasets/my_pets_2.py').read_text()
    assert "my_pets_2_data_root = 'My Pets-2/'" in text
    assert main(['My Pets-2', '--name', '3d', '--out', 'x.py']) == 0
    assert 'data_3d_train = dict(' in (tmp_path / 'x.py').read_text()


def test_many_classes_get_many_colors_and_short_lines():
    from mmadapt.datasets.base_config import distinct_palette, wrapped

    for count in (1, 10, 20, 21, 80, 365):
        assert len(set(distinct_palette(count))) == count
    # Names that follow each other are far apart, also from the last of tab20 on.
    for count in (21, 22, 80, 150):
        colors = np.array(distinct_palette(count))
        assert np.linalg.norm(np.diff(colors, axis=0), axis=1).min() > 100
        hues = rgb_to_hsv(colors / 255)[:, 0]
        assert np.abs(np.diff(hues)).min() > 0.25
    names = tuple(f'traffic light {i}' for i in range(60))
    text = wrapped(names, '    ')
    assert eval(text) == names
    assert max(map(len, text.splitlines())) <= 100
    assert eval(wrapped(('face',), '')) == ('face',)
