"""Before a training: label maps of which MMSegmentation would learn something else are refused."""

import copy
import random

import numpy as np
import pytest
import torch
from label_folders import SPLITS, image, label_map, label_maps
from mmengine.hub import get_config

from mmadapt.datasets import check_classes_match_head, check_data, label_training
from mmadapt.datasets.label_maps import read_label_maps
from mmadapt.datasets.label_training import MOST_MAPS, check_label_data
from mmadapt.errors import UserError

mmseg = pytest.importorskip('mmseg')
STOCK = 'mmseg::segformer/segformer_mit-b0_8xb1-160k_cityscapes-1024x1024.py'


@pytest.fixture
def said(monkeypatch):
    """The warnings, a line each."""
    lines = []
    monkeypatch.setattr(label_training, 'warn', lines.append)
    return lines


def config(root, classes=('bg', 'fg'), head=None, **changes):
    """The stock SegFormer of Cityscapes on a data set."""
    cfg = stock()
    for loop, split in dict(train='train', val='validation').items():
        dataset = dict(
            type='BaseSegDataset',
            data_root=f'{root}/',
            data_prefix=dict(img_path=f'images/{split}/', seg_map_path=f'masks/{split}/'),
            img_suffix='.jpg',
            seg_map_suffix='.png',
            metainfo=dict(classes=classes),
            pipeline=cfg[f'{"train" if loop == "train" else "test"}_pipeline'],
        )
        cfg[f'{loop}_dataloader'].dataset = dict(dataset, **changes)
    cfg.model.decode_head.update(dict(num_classes=len(classes)) | (head or {}))
    return cfg


def stock():
    return copy.deepcopy(get_config(STOCK))


def checked(cfg, loops=('train', 'val')):
    check_data(cfg, loops)


def test_a_right_data_set_passes(tmp_path):
    checked(config(label_maps(tmp_path)))


def test_maps_of_0_and_255_for_two_classes_are_refused(tmp_path):
    cfg = config(label_maps(tmp_path, (0, 255)))
    with pytest.raises(UserError, match=r'train_dataloader.dataset: only 0 and 255 .*masks/train'):
        checked(cfg)


def test_what_0_and_255_would_do_in_mmsegmentation(tmp_path):
    """The foreground is never evaluated, and mIoU is 100 for a model that sees background only."""
    from mmseg.evaluation import IoUMetric

    labels = torch.tensor([[0, 255], [0, 255]])
    metric = IoUMetric(iou_metrics=['mIoU'])
    metric.dataset_meta = dict(classes=('bg', 'fg'))
    metric.process(
        {},
        [dict(pred_sem_seg=dict(data=torch.zeros(1, 2, 2)), gt_sem_seg=dict(data=labels[None]))],
    )
    assert metric.compute_metrics(metric.results)['mIoU'] == 100


def test_a_value_that_is_no_class_is_refused(tmp_path):
    root = label_maps(tmp_path)
    label_map(root / 'masks' / 'train' / 'train1.png', (0, 1, 2))
    with pytest.raises(UserError, match=r'no class in .*: 2 in 1 map, for instance train1.png'):
        checked(config(root))
    # A subset of classes does nothing on a plain BaseSegDataset: the third value stays.
    with pytest.raises(UserError, match='values that are no class'):
        checked(config(label_maps(tmp_path / 'x', (0, 1, 2)), classes=('bg', 'hair')))


@pytest.mark.parametrize('split', SPLITS)
def test_maps_of_nothing_but_ignored_pixels_are_refused(split, tmp_path):
    """Three classes: with two of them 255 may be meant for the second."""
    root = label_maps(tmp_path, (0, 1, 2))
    cfg = config(root, ('bg', 'skin', 'hair'))
    label_map(root / 'masks' / split / f'{split}0.png', (255,))
    checked(cfg)
    label_map(root / 'masks' / split / f'{split}1.png', (255,))
    effect = dict(train='nothing would be learned', validation='every IoU would be nan')[split]
    with pytest.raises(UserError, match=rf'all pixels in \S+{split}/ are ignored: {effect}; exp'):
        checked(cfg)


def test_a_sample_of_nothing_but_ignored_pixels_is_a_warning(tmp_path, said, monkeypatch):
    monkeypatch.setattr(label_training, 'MOST_MAPS', 1)
    root = label_maps(tmp_path, (0, 1, 2))
    # The first is the one that is looked at.
    label_map(root / 'masks' / 'train' / 'train0.png', (255,))
    checked(config(root, ('bg', 'skin', 'hair')), ('train',))
    (line,) = [line for line in said if 'all pixels' in line]
    assert 'all pixels of 1 of 2 label maps in' in line
    assert 'if the others are so too, nothing would be learned' in line


def test_a_part_of_a_data_sets_own_classes_is_ignored_and_said(tmp_path, said):
    root = label_maps(tmp_path, (0, 11))
    changes = dict(type='CityscapesDataset')
    checked(config(root, ('person', 'road'), **changes), ('train',))
    assert 'leaves out sidewalk, building' in '\n'.join(said)
    assert 'never background' in '\n'.join(said)
    from mmseg.datasets import CityscapesDataset

    assert CityscapesDataset.get_label_map(['person', 'road'])[1] == 255
    with pytest.raises(UserError, match="has 'bg', which CityscapesDataset has not"):
        checked(config(root, ('bg', 'road'), **changes))


def test_a_suffix_that_no_image_has_is_named_with_the_right_one(tmp_path):
    with pytest.raises(UserError, match=r"img_suffix='.jpeg': no file .* write img_suffix='.jpg'"):
        checked(config(label_maps(tmp_path), img_suffix='.jpeg'))
    with pytest.raises(UserError, match=r'2 of 2 images have no label map.*holds 2 .png'):
        checked(config(label_maps(tmp_path / 'x'), seg_map_suffix='.bmp'))


def test_images_that_the_suffix_leaves_out_are_said(tmp_path, said):
    root = label_maps(tmp_path)
    image(root / 'images' / 'train' / 'other.JPG')
    checked(config(root))
    assert "img_suffix='.jpg' leaves out 1 .JPG of" in '\n'.join(said)
    assert '\n'.join(said).count('leaves out') == 1


def test_images_and_maps_in_one_folder_are_no_left_out_images(tmp_path, said):
    for index in range(2):
        image(tmp_path / 'all' / f'{index}.jpg')
        label_map(tmp_path / 'all' / f'{index}.png')
    checked(config(tmp_path, data_prefix=dict(img_path='all', seg_map_path='all')))
    assert 'leaves out' not in '\n'.join(said)


@pytest.mark.parametrize(
    ('head', 'message'),
    [
        (dict(num_classes=3), r'decode_head.num_classes is 3, but .* 2 classes .*=2$'),
        (dict(num_classes=2, out_channels=1), 'decode_head has one channel and a softmax loss'),
    ],
)
def test_a_head_that_does_not_fit_is_refused_with_what_to_write(head, message, tmp_path):
    with pytest.raises(UserError, match=message):
        checked(config(label_maps(tmp_path), head=head))


def test_one_class_with_softmax_is_refused_and_with_sigmoid_is_not(tmp_path):
    root = label_maps(tmp_path)
    with pytest.raises(UserError, match='write model.decode_head.num_classes=2'):
        checked(config(root, ('fg',)))
    sigmoid = dict(type='CrossEntropyLoss', use_sigmoid=True)
    checked(config(root, ('fg',), head=dict(loss_decode=sigmoid)))
    checked(config(root, head=dict(out_channels=1, loss_decode=sigmoid)))


def test_a_softmax_of_one_channel_ends_in_mmsegmentation_with_an_index_error():
    from mmseg.models.losses import CrossEntropyLoss

    with pytest.raises(IndexError):
        CrossEntropyLoss()(torch.zeros(1, 1, 2, 2), torch.ones(1, 2, 2, dtype=torch.long))


def test_reduce_zero_label_said_twice_differently_is_refused(tmp_path):
    cfg = config(label_maps(tmp_path))
    step = next(s for s in cfg.train_dataloader.dataset.pipeline if s.type == 'LoadAnnotations')
    step.reduce_zero_label = True
    with pytest.raises(UserError, match=r'pipeline.1.reduce_zero_label=True, but .* has False'):
        checked(cfg)
    cfg = config(label_maps(tmp_path / 'x', (1, 2)), reduce_zero_label=True)
    checked(cfg)


def test_a_palette_is_not_decoded_by_opencv(tmp_path):
    root = label_maps(tmp_path, mode='P')
    checked(config(root))
    cfg = config(root)
    cfg.train_dataloader.dataset.pipeline[1].imdecode_backend = 'cv2'
    with pytest.raises(UserError, match="imdecode_backend='cv2' loads the colors of a palette"):
        checked(cfg)
    from mmseg.datasets.transforms import LoadAnnotations

    path = str(next((root / 'masks').glob('*/*.png')))
    loaded = LoadAnnotations(imdecode_backend='cv2')(
        dict(seg_map_path=path, reduce_zero_label=False, seg_fields=[])
    )
    assert loaded['gt_seg_map'].shape[2:] == (3,)


def test_maps_are_looked_at_over_the_whole_length_and_no_more_of_them(tmp_path, monkeypatch):
    root = label_maps(tmp_path, number=3 * MOST_MAPS)
    seen = []

    def read(paths):
        seen.append([path.stem for path in paths])
        return read_label_maps(paths)

    monkeypatch.setattr(label_training, 'read_label_maps', read)
    checked(config(root), ('train',))
    (stems,) = seen
    assert len(stems) == MOST_MAPS
    numbers = [sorted(f'train{i}' for i in range(3 * MOST_MAPS)).index(stem) for stem in stems]
    assert numbers == list(range(0, 3 * MOST_MAPS, 3))


def test_test_images_without_maps_are_no_error(tmp_path):
    root = label_maps(tmp_path)
    cfg = config(root)
    cfg.test_dataloader = copy.deepcopy(cfg.val_dataloader)
    data = cfg.test_dataloader.dataset
    data.data_prefix = dict(img_path='images/validation/')
    data.pipeline = [s for s in data.pipeline if s.type != 'LoadAnnotations']
    check_label_data(cfg, ('test',), lambda *leaf: ('bg', 'fg'))


def test_rotating_label_maps_as_images_is_refused():
    from mmadapt.preflight.pipelines import check_transforms

    def lines(**step):
        pipeline = [dict(type='LoadAnnotations'), dict(type='RandomRotFlip', **step)]
        return [
            *check_transforms(
                dict(train_dataloader=dict(dataset=dict(pipeline=pipeline))), ['train']
            )
        ]

    (line,) = lines(rotate_prob=1.0)
    assert 'RandomRotate' in line
    assert lines()
    assert not lines(rotate_prob=0)
    from mmseg.datasets.transforms import RandomRotate, RandomRotFlip

    labels = np.zeros((64, 64), np.uint8)
    labels[16:48, 16:48] = 255
    random.seed(0)

    def values(transform):
        results = dict(img=np.zeros((64, 64, 3), np.uint8), gt_seg_map=labels.copy())
        np.random.seed(0)
        return {
            *np.unique(transform(dict(results, seg_fields=['gt_seg_map']))['gt_seg_map']).tolist()
        }

    assert values(RandomRotFlip(rotate_prob=1.0)) - {0, 255}
    assert not values(RandomRotate(prob=1.0, degree=20, seg_pad_val=255)) - {0, 255}


@pytest.mark.parametrize(
    'name',
    [
        'stdc/stdc1_4xb12-80k_cityscapes-512x1024.py',
        'san/san-vit-b16_voc12aug-640x640.py',
        'mask2former/mask2former_r50_8xb2-90k_cityscapes-512x1024.py',
        'segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py',
        'point_rend/pointrend_r50_4xb2-80k_cityscapes-512x1024.py',
    ],
)
def test_stock_configs_fit_their_own_classes(name):
    check_classes_match_head(get_config(f'mmseg::{name}'), ('train', 'val'))
