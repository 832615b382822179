"""Leaves of pose, segmentation and classification, with their variables set as a user sets them."""

import functools
import re
from collections import defaultdict
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from leaf_chain import edited
from leaf_files import need_library_of
from mmengine.config import Config

import mmadapt
from mmadapt.config_files import CONFIGS
from mmadapt.preflight import find_inconsistencies

EVERY = sorted(path.stem for path in (CONFIGS / 'peft').glob('*.py'))
POSE, SEG, CLS = ([name for name in EVERY if name.endswith(end)] for end in ('_pose', 'seg', 'cls'))
CLASSES = ('a', 'b', 'c', 'd', 'e')
ROOT = 'elsewhere/mine/'
POINTS = dict(
    dataset_name='mine',
    keypoint_info={i: dict(id=i, name=f'p{i}', swap='') for i in range(7)},
    skeleton_info={},
    joint_weights=[1.0] * 7,
    sigmas=[0.05] * 7,
)


def read(name, folder, **variables):
    """Read a copy of a leaf in which variables at its top have other values."""
    need_library_of(CONFIGS / 'peft' / f'{name}.py')
    return Config.fromfile(edited(name, folder, **variables), import_custom_modules=False)


def datasets(cfg):
    return {split: cfg[f'{split}_dataloader'].dataset for split in ('train', 'val', 'test')}


def assert_nothing_else_is_read(cfg):
    used = [
        cfg[f'{split}_{what}']
        for split in ('train', 'val', 'test')
        for what in ('dataloader', 'evaluator')
        if f'{split}_{what}' in cfg
    ]
    assert not re.findall(r'data/\w+', str(used))


def test_there_are_leaves_of_every_task():
    assert (len(POSE), len(SEG), len(CLS)) == (3, 3, 6)


@pytest.mark.parametrize('leaf', POSE)
def test_root_and_points_reach_every_loader_evaluator_and_head(leaf, tmp_path):
    (tmp_path / 'mine.py').write_text(f'dataset_info = {POINTS!r}\n')
    file = dict(metainfo_file=str(tmp_path / 'mine.py')) if 'rtmo' in leaf else {}
    cfg = read(leaf, tmp_path, data_root=ROOT, metainfo=POINTS, **file)
    for split, dataset in datasets(cfg).items():
        folder = 'train' if split == 'train' else 'validation'
        assert (dataset.data_root, dataset.data_prefix) == (ROOT, {'img': f'{folder}/'})
        assert dataset.ann_file == f'{folder}/annotations_coco.json'
        assert dataset.metainfo.to_dict() == POINTS
        assert not dataset.get('bbox_file'), 'boxes of COCO'
        assert dataset.data_mode == ('bottomup' if file else 'topdown')
        if split != 'train':
            evaluator = cfg[f'{split}_evaluator']
            assert evaluator.ann_file == ROOT + dataset.ann_file
            assert evaluator.keypoint_score_thr == 0
    head = cfg.model.head
    assert head.get('num_keypoints', head.get('out_channels')) == 7
    if file:
        assert head.loss_oks.metainfo == file['metainfo_file']
        assert head.assigner.oks_calculator.metainfo == file['metainfo_file']
    assert_nothing_else_is_read(cfg)


@pytest.mark.parametrize('leaf', SEG)
def test_root_and_classes_reach_every_loader_and_head_of_segmentation(leaf, tmp_path):
    cfg = read(leaf, tmp_path, data_root=ROOT, classes=CLASSES)
    for split, dataset in datasets(cfg).items():
        folder = 'train' if split == 'train' else 'validation'
        assert (dataset.type, dataset.data_root) == ('BaseSegDataset', ROOT)
        assert dataset.data_prefix == dict(
            img_path=f'images/{folder}/', seg_map_path=f'masks/{folder}/'
        )
        assert dataset.metainfo == dict(classes=CLASSES)
        # What the stock steps do to labels would be an assertion in the first image.
        (labels,) = (step for step in dataset.pipeline if step.type == 'LoadAnnotations')
        assert labels.get('reduce_zero_label') is None
        assert dataset.reduce_zero_label is False
    heads = [cfg.model.decode_head, cfg.model.get('auxiliary_head')]
    assert {head.num_classes for head in heads if head} == {5}
    assert cfg.train_cfg.type == 'EpochBasedTrainLoop'
    assert cfg.train_dataloader.sampler.type == 'DefaultSampler', 'an epoch would have no end'
    assert cfg.log_processor.by_epoch
    assert cfg.default_hooks.checkpoint.by_epoch
    assert cfg.default_hooks.checkpoint.save_best == 'mIoU'
    assert_nothing_else_is_read(cfg)


@pytest.mark.parametrize('leaf', CLS)
def test_root_and_classes_reach_every_loader_and_head_of_classification(leaf, tmp_path):
    cfg = read(leaf, tmp_path, data_root=ROOT, classes=CLASSES)
    for split, dataset in datasets(cfg).items():
        folder = 'train' if split == 'train' else 'validation'
        assert (dataset.type, dataset.data_root, dataset.data_prefix) == (
            'CustomDataset',
            ROOT,
            f'{folder}/',
        )
        assert dataset.metainfo == dict(classes=CLASSES)
        assert 'split' not in dataset, "ImageNet's argument"
        assert dataset.pipeline == cfg['train_pipeline' if split == 'train' else 'test_pipeline']
    assert cfg.model.head.num_classes == cfg.data_preprocessor.num_classes == 5
    assert cfg.val_evaluator.topk == cfg.test_evaluator.topk == cfg.model.head.topk == (1,)
    assert_nothing_else_is_read(cfg)


@pytest.mark.parametrize('leaf', [*POSE, *SEG, *CLS])
@pytest.mark.parametrize('max_epochs', [2, 100])
def test_what_depends_on_the_length_of_a_run_fits_it(max_epochs, leaf, tmp_path):
    cfg = read(leaf, tmp_path, max_epochs=max_epochs)
    assert cfg.train_cfg.max_epochs == max_epochs
    assert find_inconsistencies(cfg, 500) == []


def test_rtmpose_ends_with_milder_changes_and_needs_no_albumentations(tmp_path):
    for max_epochs, last in ((1, 1), (13, 1), (40, 3), (420, 30)):
        cfg = read('rtmpose-t_lora_face_pose', tmp_path, max_epochs=max_epochs)
        (switch,) = (hook for hook in cfg.custom_hooks if 'switch_epoch' in hook)
        assert switch.switch_epoch == max_epochs - last
        assert 'Albumentation' not in str([switch, cfg.train_dataloader])
        first, second = (
            next(step for step in pipeline if step.type == 'RandomBBoxTransform')
            for pipeline in (cfg.train_dataloader.dataset.pipeline, switch.switch_pipeline)
        )
        assert (first.rotate_factor, second.rotate_factor) == (80, 60)


def test_rtmo_switches_where_the_stock_run_does(tmp_path):
    for max_epochs, plain, proxies in ((1, 0, 0), (40, 39, 19), (600, 580, 280)):
        cfg = read('rtmo-s_lora_face_pose', tmp_path, max_epochs=max_epochs)
        pipelines, targets = cfg.custom_hooks[:2]
        # It acts before the epoch of the number max_epochs - num_last_epochs, counted from 1.
        first = max_epochs - pipelines.num_last_epochs - 1
        assert plain - 1 <= first <= plain
        assert list(targets.epoch_attributes) == [proxies]
        assert targets.epoch_attributes[proxies]['proxy_target_cc'] is True


@functools.cache
def listed_weights(library):
    """The checkpoints that a library itself lists, by its config."""
    root = Path(import_module(library).__file__).parent / '.mim' / 'configs'
    found = defaultdict(set)
    for index in [*root.rglob('*.yml'), *root.rglob('*.yaml')]:
        content = yaml.load(index.read_text(), yaml.CBaseLoader)
        for model in content.get('Models', []) if isinstance(content, dict) else content or []:
            found[str(model.get('Config'))].add(str(model.get('Weights')))
    return found


@pytest.mark.parametrize('leaf', EVERY)
def test_the_checkpoint_is_the_one_that_the_library_lists_for_the_stock_config(leaf):
    file = CONFIGS / 'peft' / f'{leaf}.py'
    need_library_of(file)
    library, stock = re.search(r"'(\w+)::([^']+)'", file.read_text()).groups()
    cfg = Config.fromfile(file, import_custom_modules=False)
    assert 'Pretrained' not in str(cfg.model), 'it would fetch what the checkpoint overwrites'
    if 'timm' in leaf:  # timm's own hub has the weights
        assert cfg.load_from is None
        assert cfg.model.backbone.pretrained
    elif 'grounding' not in leaf:  # of which MMDetection lists none
        assert cfg.load_from in listed_weights(library)[f'configs/{stock}']


def test_what_rtmo_reads_from_the_file_are_the_points_of_the_data_set():
    cfg = Config.fromfile(mmadapt.base('datasets/face_pose.py'))
    assert cfg.dataset_info == cfg.face_pose_metainfo == cfg.face_pose_train.metainfo
    count = len(cfg.dataset_info.keypoint_info)
    assert [info.id for info in cfg.dataset_info.keypoint_info.values()] == list(range(count))
    assert len(cfg.dataset_info.sigmas) == len(cfg.dataset_info.joint_weights) == count == 5
