"""Checks of pose configs: beside each line what MMPose does without it."""

import copy
import json
from pathlib import Path

import pose_leaves
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmadapt.config_files import CONFIGS
from mmadapt.datasets import check_data
from mmadapt.errors import UserError

LEAF = CONFIGS / 'peft' / 'rtmpose-t_lora_face_pose.py'
KEYS = ('dataset_name', 'keypoint_info', 'skeleton_info', 'joint_weights', 'sigmas')
VAL = 'data/face_pose/validation/annotations_coco.json'


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    """Faces where the leaves look for them, and the lines that are logged."""
    pytest.importorskip('mmpose.models', exc_type=ImportError)
    init_default_scope('mmpose')
    pose_leaves.write_data(tmp_path)
    monkeypatch.chdir(tmp_path)
    lines = []
    monkeypatch.setattr('mmadapt.datasets.pose_checks.warn', lines.append)
    return lines


def read(name='rtmpose-t_lora_face_pose', **options):
    cfg = Config.fromfile(CONFIGS / 'peft' / f'{name}.py')
    cfg.merge_from_dict(options)
    return cfg


def rewrite(change, split='validation'):
    """Change every annotation of a split."""
    path = Path('data', 'face_pose', split, 'annotations_coco.json')
    content = json.loads(path.read_text())
    for annotation in content['annotations']:
        change(annotation)
    path.write_text(json.dumps(content))


def build(cfg, split='val'):
    from mmpose.registry import DATASETS

    return DATASETS.build(cfg[f'{split}_dataloader'].dataset)


def set_metainfo(cfg, info):
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].dataset.metainfo = info
    return cfg


@pytest.mark.parametrize(
    'leaf',
    ['rtmpose-t_lora_face_pose', 'td-hm_hrnet-w32_lora_face_pose', 'rtmo-s_lora_face_pose'],
)
def test_a_leaf_and_its_data_pass_without_a_word(leaf, data):
    check_data(read(leaf))
    assert data == []


@pytest.mark.parametrize('key', KEYS)
def test_a_key_that_mmpose_asserts_silently_is_named(key):
    cfg = read()
    info = copy.deepcopy(cfg.metainfo.to_dict())
    del info[key]
    with pytest.raises(AssertionError) as silent:
        build(set_metainfo(cfg, info))
    assert str(silent.value) == ''
    with pytest.raises(
        UserError, match=rf'train_dataloader.dataset.metainfo has no {key}, .*write'
    ):
        check_data(cfg)


@pytest.mark.parametrize(
    ('key', 'value', 'line'),
    [
        ('sigmas', [0.025], r'metainfo.sigmas has 1 values for 5 points; .*\[0.025\] \* 5'),
        ('sigmas', [0.0] * 5, 'where one is not above 0, no prediction is ever right'),
        ('joint_weights', [1.0] * 17, r'metainfo.joint_weights has 17 values for 5 points'),
    ],
)
def test_lengths_that_mmpose_does_not_compare_are(key, value, line):
    cfg = set_metainfo(read(), dict(read().metainfo.to_dict(), **{key: value}))
    build(cfg)  # without a word
    with pytest.raises(UserError, match=line):
        check_data(cfg)


def test_a_description_of_no_point_is_named():
    info = dict(read().metainfo.to_dict(), keypoint_info={}, sigmas=[], joint_weights=[])
    with pytest.raises(UserError, match='metainfo.keypoint_info describes no point'):
        check_data(set_metainfo(read(), info))


def test_a_swap_or_a_line_that_names_no_point_is_named():
    cfg = read()
    info = cfg.metainfo.to_dict()
    info['keypoint_info'][0]['swap'] = 'right_eys'
    with pytest.raises(KeyError):
        build(set_metainfo(cfg, info))
    with pytest.raises(
        UserError, match=r"keypoint_info\[0\].swap names 'right_eys', .*'right_eye'"
    ):
        check_data(cfg)


@pytest.mark.parametrize(
    ('change', 'stops', 'line'),
    [
        (
            dict(skeleton_info={0: dict(id=0, link=('left_eye', 'noise'))}),
            KeyError,
            r"skeleton_info\[0\].link names 'noise', which is no point; nearest: 'nose'",
        ),
        # As COCO's files have them.
        (
            dict(skeleton_info={0: dict(id=0, link=(1, 2))}),
            KeyError,
            r'skeleton_info\[0\].link names 1, which is no point',
        ),
        (
            dict(skeleton_info={0: dict(id=0, link=('left_eye',))}),
            None,
            r"skeleton_info\[0\].link is \('left_eye',\), not two names",
        ),
        (dict(skeleton_info={0: dict(id=0)}), KeyError, r'skeleton_info\[0\].link is None'),
        (
            dict(skeleton_info=[('left_eye', 'nose')]),
            AttributeError,
            r"skeleton_info is \[\('left_eye', 'nose'\)\]; write \{0: dict",
        ),
    ],
)
def test_a_skeleton_that_does_not_fit_the_points_is_named(change, stops, line):
    cfg = read()
    cfg = set_metainfo(cfg, dict(cfg.metainfo.to_dict(), **change))
    if stops:
        with pytest.raises(stops):
            build(cfg)
    else:
        build(cfg)
    with pytest.raises(UserError, match=line):
        check_data(cfg)


def test_points_by_which_flipped_images_would_be_wrong_are_named():
    def changed(change):
        info = read().metainfo.to_dict()
        change(info['keypoint_info'])
        return set_metainfo(read(), info)

    alone = changed(lambda points: points[1].update(swap=''))
    assert build(alone).metainfo['flip_indices'] == [1, 1, 2, 4, 3]  # one eye twice, no word
    with pytest.raises(UserError, match=r"\[0\].swap is 'right_eye', .*write swap='left_eye'"):
        check_data(alone)
    twice = changed(lambda points: points[2].update(name='left_eye'))
    for split in ('train', 'val', 'test'):
        twice[f'{split}_dataloader'].dataset.metainfo.skeleton_info = {}
    assert build(twice).metainfo['flip_indices'] == [1, 2, 2, 4, 3]
    with pytest.raises(UserError, match=r"\[2\] has the name of 0, 'left_eye'"):
        check_data(twice)
    with pytest.raises(UserError, match=r'\[2\] has no name'):
        check_data(changed(lambda points: points[2].pop('name')))
    shifted = changed(lambda points: points.update({5: points.pop(0)}))
    assert 5 in build(shifted).metainfo['flip_indices']  # of 5 points, from 0
    with pytest.raises(UserError, match='counts its points 1, 2, 3, 4, 5: .*write 0 to 4'):
        check_data(shifted)


def test_a_swap_that_is_wrong_in_mmposes_own_description_is_a_warning_once(data):
    from mmadapt.datasets.metainfo import read_metainfo
    from mmadapt.datasets.pose_checks import check_pose

    stock = dict(from_file='configs/_base_/datasets/deepfashion2.py')
    cfg = read(**{'model.head.out_channels': 294})
    for loop in ('train', 'val'):
        leaf = cfg[f'{loop}_dataloader'].dataset
        leaf.update(type='DeepFashion2Dataset', ann_file='none.json')
        leaf.pop('metainfo')
    cfg.val_evaluator = cfg.test_evaluator = []  # no OKS: the description has no sigmas
    for given in ({}, dict(metainfo=stock)):
        cfg.train_dataloader.dataset.update(given)
        data.clear()
        check_pose(cfg, ('train', 'val'))
        (line,) = data
        assert "deepfashion2.py.keypoint_info[136].swap is 'vest_kpt13', whose own swap" in line
    cfg.train_dataloader.dataset.metainfo = read_metainfo(stock, '')[0]
    with pytest.raises(UserError, match=r"\[136\].swap is 'vest_kpt13', .*write swap='vest_kpt9'"):
        check_pose(cfg, ('train',))


def test_descriptions_of_mmpose_itself_pass_and_need_sigmas_for_coco_alone():
    from mmadapt.datasets.metainfo import check_metainfo, read_metainfo

    faces, place = read_metainfo(dict(from_file='configs/_base_/datasets/wflw.py'), 'metainfo')
    assert check_metainfo(faces, place, by_oks=False) == 98
    with pytest.raises(UserError, match='sigmas has 0 values for 98 points'):
        check_metainfo(faces, place)
    for name, count in (('coco', 17), ('coco_wholebody', 133), ('ap10k', 17), ('crowdpose', 14)):
        file = dict(from_file=f'configs/_base_/datasets/{name}.py')
        assert check_metainfo(*read_metainfo(file, '')) == count
    cfg = read(**{'model.head.out_channels': 5})
    info = dict(cfg.metainfo.to_dict(), sigmas=[])
    nme = dict(type='NME', norm_mode='keypoint_distance', keypoint_indices=[0, 1])
    cfg.val_evaluator = cfg.test_evaluator = nme
    check_data(set_metainfo(cfg, info))


def test_a_head_of_other_points_is_named_with_the_option():
    with pytest.raises(UserError, match=r'head.out_channels is 17, .* --cfg-options .*=5'):
        check_data(read(**{'model.head.out_channels': 17}))
    with pytest.raises(UserError, match=r'head.num_keypoints is 17, .* --cfg-options .*=5'):
        check_data(read('rtmo-s_lora_face_pose', **{'model.head.num_keypoints': 17}))


def test_a_file_of_other_points_is_named_with_both_numbers():
    cfg = read()
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].dataset.pop('metainfo')  # COCO's 17
    cfg.model.head.out_channels = 17
    assert build(cfg, 'train').metainfo['num_keypoints'] == 17  # without a word
    with pytest.raises(UserError, match=r'has 5 points an object, but .* describes 17; write'):
        check_data(cfg)


def test_one_object_of_another_length_is_named():
    def cut(annotation):
        if annotation['id'] == 2:
            annotation['keypoints'] = annotation['keypoints'][:-3]

    rewrite(cut, 'train')
    with pytest.raises(UserError, match=r'annotation 2: keypoints has 12 values, not 15'):
        check_data(read())


def test_without_area_the_validation_would_stop_after_an_epoch():
    rewrite(lambda annotation: annotation.pop('area'))
    cfg = read()
    with pytest.raises(UserError, match=r'without a positive area \(4\), .*use_area=False'):
        check_data(cfg)
    evaluate(cfg, stops='area')
    cfg.val_evaluator.use_area = cfg.test_evaluator.use_area = False
    check_data(cfg)
    assert evaluate(cfg, stops='') > 0.99
    # Training knows a share of the box by itself.
    rewrite(lambda annotation: annotation.pop('area'), 'train')
    check_data(cfg)
    assert len(build(cfg, 'train')) == 4


def evaluate(cfg, stops):
    """Evaluate the points of the file itself, called category 1 as RTMO does; returns AP."""
    from mmpose.registry import METRICS

    metric, dataset = METRICS.build(cfg.val_evaluator), build(cfg)
    metric.dataset_meta = dataset.metainfo
    for sample in map(dataset.get_data_info, range(len(dataset))):
        shown = dict(
            pred_instances=dict(
                keypoints=sample['keypoints'], keypoint_scores=sample['keypoints_visible']
            ),
            gt_instances=dict(bbox_scores=[1.0], bbox_scales=sample['bbox'][:, 2:]),
            id=sample['id'],
            img_id=sample['img_id'],
            category_id=1,
        )
        metric.process([{}], [shown])
    if stops:
        with pytest.raises(KeyError, match=stops):
            metric.evaluate(len(dataset))
        return None
    return metric.evaluate(len(dataset))['coco/AP']


def test_objects_that_are_called_empty_would_not_be_trained_on():
    rewrite(lambda annotation: annotation.update(num_keypoints=0), 'train')
    cfg = read()
    with pytest.raises(ValueError, match='at least one array'):
        build(cfg, 'train')
    with pytest.raises(UserError, match=r'num_keypoints is 0 beside visible points \(4\)'):
        check_data(cfg)


@pytest.mark.parametrize('value', [-1, 0.5])
def test_a_visibility_that_would_be_a_weight_is_named(value):
    cfg = read()
    rewrite(lambda a: a['keypoints'].__setitem__(2, 3), 'train')
    assert build(cfg, 'train').get_data_info(0)['keypoints_visible'][0, 0] == 1
    check_data(cfg)
    rewrite(lambda a: a['keypoints'].__setitem__(2, value), 'train')
    assert build(cfg, 'train').get_data_info(0)['keypoints_visible'][0, 0] == value
    with pytest.raises(UserError, match=rf'visibility is below 1 and not 0 .*1: {value}'):
        check_data(cfg)


def test_the_files_that_rtmo_reads_points_from_are_those_of_the_data_set():
    from mmpose.registry import MODELS

    name = 'configs/_base_/datasets/coco.py'
    for place in ('loss_oks', 'assigner.oks_calculator'):
        with pytest.raises(UserError, match=rf'model.head.{place}.metainfo=.* describes 17 points'):
            check_data(read('rtmo-s_lora_face_pose', **{f'model.head.{place}.metainfo': name}))
    loss = MODELS.build(dict(type='OKSLoss', metainfo=name))
    with pytest.raises(RuntimeError, match='must match'):
        loss(torch.zeros(2, 5, 2), torch.zeros(2, 5, 2), torch.ones(2, 5), torch.ones(2))
    with pytest.raises(UserError, match="no file mine.py, .* nearest: '"):
        check_data(read('rtmo-s_lora_face_pose', **{'model.head.loss_oks.metainfo': 'mine.py'}))
    path = str(CONFIGS / '_base_' / 'peft' / 'lora.py')
    with pytest.raises(UserError, match='has no dataset_info'):
        check_data(read('rtmo-s_lora_face_pose', **{'model.head.loss_oks.metainfo': path}))


def test_an_evaluator_without_a_file_is_warned_of(data):
    cfg = read()
    del cfg.val_evaluator['ann_file']
    check_data(cfg, ('train', 'val'))
    assert [line.partition(':')[0] for line in data] == ['val_evaluator has no ann_file']
    # What is warned of: the file of the data set that was built last is taken.
    from mmpose.registry import METRICS

    metric, dataset = METRICS.build(cfg.val_evaluator), build(cfg)
    later = copy.deepcopy(cfg.val_dataloader.dataset)
    later.ann_file = 'train/annotations_coco.json'
    rewrite(lambda annotation: annotation.update(id=annotation['id'] + 100), 'train')
    cfg.val_dataloader.dataset = later
    build(cfg)
    metric.dataset_meta = dataset.metainfo
    assert min(metric.coco.anns) > 100


def test_a_threshold_below_which_the_order_of_the_file_decides_is_warned_of(data):
    cfg = read(**{'val_evaluator.keypoint_score_thr': 0.2})
    check_data(cfg, ('val',))
    assert 'val_evaluator.keypoint_score_thr=0.2: all detections' in data[0]
    assert data[0].endswith('--cfg-options val_evaluator.keypoint_score_thr=0')
    cfg.val_evaluator.score_mode = 'bbox'
    data.clear()
    check_data(cfg, ('val',))
    assert data == []


def test_points_that_are_converted_are_not_compared_with_the_head():
    cfg = read(**{'model.head.out_channels': 17})
    converter = dict(type='KeypointConverter', num_keypoints=17, mapping=[(0, 1)])
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].dataset.pipeline.append(converter)
    check_data(cfg)
    cfg = read(**{'model.head.out_channels': 17})
    cfg.train_dataloader.dataset = dict(
        type='CombinedDataset',
        metainfo=cfg.metainfo,
        datasets=[cfg.train_dataloader.dataset],
        pipeline=[],
    )
    check_data(cfg, ('train',))


def test_a_split_in_which_nothing_is_labeled_is_named():
    rewrite(lambda a: a.update(keypoints=[9, 9, 0] * 5, num_keypoints=0), 'train')
    cfg = read()
    with pytest.raises(ValueError, match='at least one array'):
        build(cfg, 'train')
    with pytest.raises(UserError, match=r'train/.*no object has a visible point'):
        check_data(cfg)


@pytest.mark.parametrize(('split', 'loop'), [('train', 'train'), ('validation', 'val')])
def test_an_empty_split_is_named(split, loop):
    rewrite(lambda annotation: annotation.pop('keypoints'), split)
    cfg = read()
    with pytest.raises(ValueError, match='at least one array'):
        build(cfg, loop)
    with pytest.raises(UserError, match=rf'{split}/.*no annotation has keypoints'):
        check_data(cfg)


def test_boxes_among_points_would_stop_the_evaluation_after_an_epoch():
    def drop(annotation):
        if annotation['id'] == 2:
            del annotation['keypoints'], annotation['num_keypoints']

    rewrite(drop)
    cfg = read()
    assert len(build(cfg)) == 3
    evaluate(cfg, stops='keypoints')
    with pytest.raises(UserError, match='annotations without keypoints .*: annotation 2'):
        check_data(cfg)
    check_data(cfg, ('train',))


@pytest.mark.parametrize('category', [0, 3])
def test_rtmo_knows_category_1_alone(category):
    cfg = read('rtmo-s_lora_face_pose')
    rewrite(lambda annotation: annotation.update(category_id=category), 'train')
    item = build(cfg, 'train').get_data_info(0)
    assert set(item['category_id']) == {category}
    with pytest.raises(UserError, match=rf'train/.* other categories than 1 \(4 of {category} '):
        check_data(cfg)
    # Models in given boxes take it.
    check_data(read())
    rewrite(lambda annotation: annotation.update(category_id=1), 'train')
    assert evaluate(read(), stops='') > 0.99
    rewrite(lambda annotation: annotation.update(category_id=category))
    path = Path(VAL)
    content = json.loads(path.read_text())
    content['categories'] = [dict(id=category, name='face')]
    path.write_text(json.dumps(content))
    assert evaluate(read(), stops='') == 0
    with pytest.raises(UserError, match='validation/.* other categories than 1'):
        check_data(cfg)
    from mmpose.codecs import YOLOXPoseAnnotationProcessor

    labels = YOLOXPoseAnnotationProcessor().encode(category_id=[category])['bbox_labels']
    with pytest.raises(RuntimeError, match='Class values must be'):
        torch.nn.functional.one_hot(torch.tensor(labels).long(), 1)
