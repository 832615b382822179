"""Data sets that are no `CocoDataset`, and wrapped ones: checked where possible, never broken."""

import copy

import numpy as np
import pytest
from coco_files import box, write_export
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from PIL import Image

from mmadapt.datasets import check_coco_dataset_cfg, check_data
from mmadapt.datasets.nothing_left import nothing_left
from mmadapt.errors import UserError

WRAPPERS = dict(
    concatenated=lambda d: dict(type='ConcatDataset', datasets=[d, copy.deepcopy(d)]),
    repeated=lambda d: dict(type='RepeatDataset', times=2, dataset=d),
    balanced=lambda d: dict(type='ClassBalancedDataset', oversample_thr=1e-3, dataset=d),
    mixed=lambda d: dict(
        type='MultiImageMixDataset', dataset=d, pipeline=[dict(type='Mosaic', img_scale=(64, 64))]
    ),
    twice=lambda d: dict(
        type='RepeatDataset', times=2, dataset=dict(type='ConcatDataset', datasets=[d])
    ),
    listed=lambda d: [d],
)


def coco_cfg(root, split='train'):
    return dict(
        type='CocoDataset',
        data_root=str(root),
        ann_file=f'{split}/annotations_coco.json',
        data_prefix=dict(img=f'{split}/'),
        metainfo=dict(classes=('cat', 'dog')),
        test_mode=split != 'train',
    )


@pytest.mark.parametrize('wrapper', WRAPPERS)
def test_boxes_are_looked_for_in_wrapped_data_sets_too(wrapper, tmp_path):
    def whole(annotations):
        root = write_export(tmp_path, annotations)
        return Config(
            dict(
                model=dict(bbox_head=dict(num_classes=2)),
                train_dataloader=dict(dataset=WRAPPERS[wrapper](coco_cfg(root))),
                val_dataloader=dict(dataset=WRAPPERS[wrapper](coco_cfg(root, 'validation'))),
                val_evaluator=[
                    dict(type='CocoMetric', ann_file=f'{root}/validation/annotations_coco.json')
                ],
            )
        )

    check_data(whole([box(1), box(2, category=2)]))
    with pytest.raises(UserError, match='none of its .* boxes is trained on'):
        check_data(whole([box(1, iscrowd=1), box(2, category=2, ignore=1)]))


def folders(root, names=('a', 'b')):
    """A folder of images for each class, as for classification, and label maps."""
    for name in names:
        (root / 'train' / name).mkdir(parents=True)
        Image.new('RGB', (8, 8)).save(root / 'train' / name / '1.jpg')
    return root


def classification(dataset, num_classes=2):
    return Config(
        dict(
            default_scope='mmpretrain',
            model=dict(head=dict(num_classes=num_classes)),
            train_dataloader=dict(dataset=dataset),
            val_dataloader=dict(dataset=dataset),
            val_evaluator=[dict(type='Accuracy', topk=(1,))],
        )
    )


@pytest.mark.parametrize('wrapper', WRAPPERS)
@pytest.mark.parametrize('kind', ['ImageNet', 'CustomDataset', 'mmpretrain.CustomDataset'])
def test_a_data_prefix_that_is_a_text_is_mmpretrains_and_checked(kind, wrapper, tmp_path):
    """Whether MMPretrain is installed or not."""
    root = folders(tmp_path)
    # ImageNet has names of its own, a thousand of them.
    kind = dict(type=kind, metainfo=dict(classes=('a', 'b')))
    good = dict(kind, data_root=str(root), data_prefix='train')
    check_data(classification(WRAPPERS[wrapper](good)))
    check_data(classification(WRAPPERS[wrapper](dict(kind, data_prefix=f'{root}/train'))))
    with pytest.raises(UserError, match=r'data_prefix\); .* did you mean \S+/train'):
        check_data(classification(WRAPPERS[wrapper](dict(good, data_prefix='trian'))))


@pytest.mark.parametrize(
    'dataset',
    [
        dict(type='mmdet.CocoDataset', data_prefix='train/'),
        dict(type='VOCDataset', data_prefix='train/'),
    ],
)
def test_a_text_is_refused_where_mmdetection_wants_a_dict(dataset):
    with pytest.raises(UserError, match=r"is the text 'train/'; \w+ reads dict\(img='train/'\)"):
        check_coco_dataset_cfg(dataset)


@pytest.mark.parametrize(
    'dataset',
    [
        None,
        {},
        dict(type='NoSuchDataset', ann_file=['a', 'b'], data_prefix=None),
        dict(type='XMLDataset', data_root='', ann_file='', data_prefix=dict(sub_data_root=None)),
        dict(type='ConcatDataset', datasets=[]),
        dict(type='BaseSegDataset', data_prefix=dict(img_path='', seg_map_path='')),
        dict(
            type='CombinedDataset',
            metainfo=dict(from_file='x'),
            datasets=[
                dict(type='CocoDataset', data_mode='topdown', ann_file='', data_prefix=dict(img=''))
            ],
        ),
    ],
)
@pytest.mark.parametrize('scope', ['mmdet', 'mmpose', 'mmseg', 'mmpretrain'])
def test_no_data_set_of_any_library_breaks_the_check(dataset, scope):
    check_data(
        Config(
            dict(
                default_scope=scope,
                model=dict(type='X', head=dict(num_classes=80), bbox_head=None),
                train_dataloader=dict(dataset=dataset),
                val_dataloader=dict(dataset=dataset),
                val_evaluator=dict(type='Evaluator', metrics=[dict(type='PCKAccuracy')]),
            )
        )
    )


def test_the_real_data_sets_of_mmpretrain_take_what_the_check_passes(tmp_path, monkeypatch):
    datasets = pytest.importorskip('mmpretrain.datasets')
    root = folders(tmp_path)
    monkeypatch.setenv('HOME', str(root))
    for prefix in (
        dict(data_root=str(root), data_prefix='train'),
        dict(data_prefix='~/train'),
        dict(data_root=str(root), data_prefix=dict(img_path='train')),
    ):
        check_data(classification(dict(type='CustomDataset', **prefix)))
        assert len(datasets.CustomDataset(pipeline=[], **prefix)) == 2
    # It downloads what is not there.
    cifar = dict(type='CIFAR10', data_prefix='data/cifar10', test_mode=True)
    check_data(classification(cifar, num_classes=10))


class Listed(BaseDataset):
    """A data set of another library: eight samples of sizes 1 to 8, every second without labels."""

    def load_data_list(self):
        return [dict(size=i, labels=[i] * (i % 2)) for i in range(1, 9)] * bool(self.ann_file)

    def filter_data(self):
        if self.test_mode:
            return self.data_list
        smallest = self.filter_cfg.get('min_size', 0)
        empty = self.filter_cfg.get('filter_empty_gt')
        return [d for d in self.data_list if d['size'] >= smallest and (d['labels'] or not empty)]


def explanation(build):
    with pytest.raises(ValueError, match='at least one array|another') as caught:
        build()
    return nothing_left(caught.value)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            dict(filter_cfg=dict(filter_empty_gt=True, min_size=8)),
            'filter_cfg, filter_empty_gt=True removes 4 and min_size=8 removes 7',
        ),
        (dict(filter_cfg=dict(min_size=9)), 'which lists 8: filter_cfg, min_size=9 removes 8'),
        (dict(ann_file='', test_mode=True), 'it lists nothing'),
        (dict(test_mode=True, indices=0), 'indices=0 chooses none'),
    ],
)
def test_an_empty_data_set_of_any_library_is_one_line(options, message):
    from mmengine.registry import DATASETS

    options = dict(dict(ann_file='a.txt', filter_cfg={}), **options)
    assert message in str(explanation(lambda: Listed(**options)))
    DATASETS.register_module(module=Listed, name='Listed', force=True)
    try:
        assert message in str(explanation(lambda: DATASETS.build(dict(type='Listed', **options))))
    finally:
        DATASETS.module_dict.pop('Listed')


def test_an_empty_voc_data_set_is_one_line(tmp_path):
    from mmdet.datasets import XMLDataset

    (tmp_path / 'list.txt').write_text('')
    line = explanation(
        lambda: XMLDataset(
            data_root=str(tmp_path),
            ann_file='list.txt',
            data_prefix=dict(sub_data_root=''),
            pipeline=[],
            metainfo=dict(classes=('a',)),
        )
    )
    assert f'nothing is left of the data set XMLDataset ({tmp_path}/list.txt)' in str(line)


def test_another_error_is_not_taken_for_an_empty_data_set(monkeypatch):
    assert explanation(lambda: np.concatenate([])) is None

    def fail(*_, **__):
        raise ValueError('another')

    monkeypatch.setattr('mmengine.dataset.base_dataset.pickle.dumps', fail)
    assert explanation(lambda: Listed(ann_file='a.txt', test_mode=True)) is None


def test_a_tool_ends_with_that_line(capsys):
    from mmadapt.cli import run_tool

    with pytest.raises(SystemExit) as ended:
        run_tool(lambda: Listed(ann_file='a.txt', filter_cfg=dict(min_size=9)))
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith('nothing is left of the data set Listed (a.txt)')
