"""`mmadapt dataset` for poses: what it writes is what MMPose loads, or nothing."""

import json

import numpy as np
import pytest
from coco_files import write_export
from label_files import write_image, write_text
from mmengine.config import Config
from PIL import Image
from pose_files import NAMES, PLACES, face, poses, write_poses

from mmadapt.commands.dataset import main
from mmadapt.datasets.points import Points, pairs_by_name
from mmadapt.datasets.pose_config import point_colors
from mmadapt.errors import UserError, WriteError


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    """A function that runs the command on a folder and returns what it writes and says."""
    monkeypatch.setenv('COLUMNS', '200')

    def run(folder, *options, code=0):
        out = tmp_path / 'my_faces.py'
        assert main([str(folder), '--out', str(out), *options]) == code
        return (Config.fromfile(out) if code == 0 else None), capsys.readouterr().out

    return run


def built(cfg):
    """The data set that MMPose makes of a config, without a pipeline."""
    pytest.importorskip('mmpose.models', exc_type=ImportError)
    from mmengine.registry import DATASETS

    # Whatever scope a test before has left.
    with DATASETS.switch_scope_and_registry('mmpose') as registry:
        registry.import_from_location()
        return registry.build({**cfg, 'pipeline': []})


def test_the_file_that_is_written_says_what_the_data_set_has(run, tmp_path):
    cfg, said = run(write_poses(tmp_path / 'x'))
    names = {'data_root', 'num_points', 'metainfo', 'train', 'val', 'test'}
    names |= {'val_evaluator', 'test_evaluator'}
    assert {*cfg.keys()} == {'dataset_info', *(f'my_faces_{name}' for name in names)}
    info = cfg.dataset_info
    assert [(p.name, p.swap) for p in info.keypoint_info.values()] == [
        ('left_eye', 'right_eye'),
        ('right_eye', 'left_eye'),
        ('nose', ''),
    ]
    assert [tuple(line.link) for line in info.skeleton_info.values()] == [
        ('left_eye', 'right_eye'),
        ('left_eye', 'nose'),
        ('right_eye', 'nose'),
    ]
    assert info.sigmas == [0.025, 0.025, 0.026]
    assert info.joint_weights == [1.0] * 3
    assert cfg.my_faces_metainfo == info
    assert cfg.my_faces_val_evaluator.ann_file.endswith('x/validation/annotations_coco.json')
    assert 'change places in mirrored images: left_eye:right_eye; --flip-pairs' in said
    assert "sigmas, which AP depends on: COCO's own for all points; --sigmas" in said
    assert 'lines: left_eye-right_eye, left_eye-nose, right_eye-nose' in said


def test_mmpose_loads_what_is_written(run, tmp_path):
    cfg, _ = run(write_poses(tmp_path / 'x'))
    train, val = built(cfg.my_faces_train), built(cfg.my_faces_val)
    assert (len(train), len(val)) == (2, 2)
    meta = train.metainfo
    assert meta['flip_indices'] == [1, 0, 2]
    assert meta['skeleton_links'] == [(0, 1), (0, 2), (1, 2)]
    np.testing.assert_allclose(meta['sigmas'], [0.025, 0.025, 0.026])
    item = train.get_data_info(0)
    np.testing.assert_allclose(item['keypoints'][0], np.reshape(PLACES, (3, 3))[:, :2])


def test_what_is_typed_of_the_points_is_in_the_file(run, tmp_path):
    root = write_poses(tmp_path / 'x', *[poses([face(1)], keypoints=None, skeleton=None)] * 2)
    _, said = run(root, code=1)
    assert 'no names of the points: objects have 3 points' in said
    options = ('--keypoints', 'a, b,c', '--flip-pairs', 'a:b', '--sigmas', '0.03')
    cfg, said = run(root, *options)
    points = cfg.dataset_info.keypoint_info.values()
    assert [(p.name, p.swap) for p in points] == [('a', 'b'), ('b', 'a'), ('c', '')]
    assert cfg.dataset_info.sigmas == [0.03] * 3
    assert cfg.dataset_info.skeleton_info == {}
    assert '0.03 for a, b, c' in said
    text = (tmp_path / 'my_faces.py').read_text()
    assert "--keypoints 'a, b,c' --flip-pairs a:b --sigmas 0.03" in text


def test_mmpose_flips_points_as_they_are_typed(run, tmp_path):
    options = ('--keypoints', 'a,b,c', '--flip-pairs', 'a:c')
    cfg, _ = run(write_poses(tmp_path / 'x'), *options)
    assert built(cfg.my_faces_train).metainfo['flip_indices'] == [2, 1, 0]


def test_poses_are_poses_where_the_training_file_is_mistyped(run, tmp_path):
    _, said = run(write_poses(tmp_path / 'x'), '--train-ann', 'nope.json', code=1)
    assert 'objects with keypoints, read as poses' in said
    assert 'nope.json' in said
    assert '--task det' in said
    assert 'area' not in said


def test_objects_with_keypoints_are_poses_unless_boxes_are_asked_for(run, tmp_path):
    root = write_poses(tmp_path / 'x')
    cfg, said = run(root)
    assert (
        f'objects with keypoints, read as poses; as boxes: mmadapt dataset {root} --task det'
        in said
    )
    cfg, said = run(root, '--task', 'det', '--force')
    assert f'read as boxes; as poses: mmadapt dataset {root} --task pose' in said
    assert cfg.my_faces_classes == ('face',)
    assert cfg.my_faces_val_evaluator.metric == 'bbox'
    boxes = write_export(tmp_path / 'y', [dict(face(1), category_id=1, keypoints=[])])
    assert 'read as' not in run(boxes, '--force')[1]
    _, said = run(boxes, '--task', 'pose', code=1)
    assert 'no annotation has keypoints' in said


@pytest.mark.parametrize(
    ('options', 'line'),
    [
        (['--task', 'det', '--sigmas', '1'], '--sigmas means nothing for boxes.* --task pose'),
        (['--fix-ignored'], '--fix-ignored means nothing for poses.* or give --task det'),
        (['--keep-unused'], '--keep-unused means nothing for poses'),
        (['--flip-pairs', 'eye:nose'], "--flip-pairs names 'eye', .* nearest: '"),
        (['--sigmas', '1,2'], 'one for each of the 3 points'),
        (['--show', 'x.pdf'], 'is no image file'),
        (['--classes', 'a'], '--classes means nothing for'),
    ],
)
def test_an_option_that_has_no_use_is_refused(run, tmp_path, options, line):
    with pytest.raises(UserError, match=line):
        run(write_poses(tmp_path / 'x'), *options)


OF_POSES = [('--keypoints', 'a,b'), ('--flip-pairs', 'a:b'), ('--sigmas', '0.1')]


def test_options_of_poses_are_refused_for_boxes(run, tmp_path):
    boxes = write_export(tmp_path / 'x', [dict(face(1), keypoints=[])])
    for option, value in OF_POSES:
        with pytest.raises(UserError, match=f'{option} means nothing for boxes'):
            run(boxes, option, value)


def test_options_of_poses_are_refused_for_labels_of_other_formats(run, tmp_path):
    pytest.importorskip('globox')
    yolo = tmp_path / 'yolo'
    for split in ('train', 'val'):
        write_image(yolo / f'images/{split}/{split}.jpg')
        write_text(yolo / f'labels/{split}/{split}.txt', '0 0.5 0.5 0.5 0.5\n')
    write_text(yolo / 'data.yaml', 'train: images/train\nval: images/val\nnames: [face]\n')
    for option, value in OF_POSES:
        with pytest.raises(UserError, match=f'{option} means nothing for boxes'):
            run(yolo, option, value)
    with pytest.raises(UserError, match='--task pose: of the labels in .* export them in COCO'):
        run(yolo, '--task', 'pose')


def test_a_sheet_that_cannot_be_written_is_no_fault_of_the_folder(run, tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(WriteError, match='file/x.jpg cannot be written'):
        run(write_poses(tmp_path / 'x'), '--show', str(tmp_path / 'file' / 'x.jpg'))


def test_fix_mends_in_copies_which_the_file_names(run, tmp_path):
    wrong = [face(1, num_keypoints=0, area=None), face(2, 2, keypoints=[*PLACES[:8], 5])]
    content = poses(wrong, id=3)
    for annotation in wrong:
        annotation['category_id'] = 3
    root = write_poses(tmp_path / 'x', content, content)
    before = {path: path.read_bytes() for path in root.rglob('*.json')}
    _, said = run(root, code=1)
    assert 'no config written' in said
    cfg, said = run(root, '--fix')
    assert {path: path.read_bytes() for path in before} == before
    assert said.count('set the area of 1 objects to 0.53 x width x height') == 2
    assert cfg.my_faces_val.ann_file == 'validation/pose_annotations_fixed.json'


def test_mmpose_loads_a_copy_whose_points_were_counted_anew(run, tmp_path):
    content = poses([face(1, num_keypoints=0), face(2, 2, area=None)])
    cfg, _ = run(write_poses(tmp_path / 'x', content), '--fix')
    assert cfg.my_faces_train.ann_file == 'train/pose_annotations_fixed.json'
    assert len(built(cfg.my_faces_train)) == 2


def test_colors_are_as_many_as_points_and_pale_ones_belong_to_pairs():
    for pairs, single in ((8, 1), (2, 0), (10, 0), (12, 3), (0, 30)):
        names = [f'{side}_{i}' for i in range(pairs) for side in ('left', 'right')]
        names += [f'p{i}' for i in range(single)]
        colors = point_colors(Points(tuple(names), pairs_by_name(names)[0]))
        assert len(set(colors)) == len(names)
        assert all(min(color) >= 153 for color in colors[1 : 2 * pairs : 2])
        assert all(min(color) < 153 for color in colors[: 2 * pairs : 2] + colors[2 * pairs :])


def test_what_needs_a_decision_is_not_mended(run, tmp_path):
    content = poses([face(1, num_keypoints=0), face(2, keypoints=PLACES[:6])])
    _, said = run(write_poses(tmp_path / 'x', content), '--fix', code=1)
    assert '--fix wrote nothing' in said
    assert not list(tmp_path.rglob('*fixed.json'))


def test_lines_for_rtmo_wait_until_its_category_has_the_number_that_it_knows(run, tmp_path):
    content = poses([face(1, category_id=2)], id=2)
    root = write_poses(tmp_path / 'x', content, content)
    _, said = run(root)
    assert 'out_channels=_base_.my_faces_num_points' in said
    assert 'RTMO, --fix is needed first' in said
    assert 'num_keypoints=' not in said
    _, said = run(root, '--fix', '--force')
    assert 'num_keypoints=_base_.my_faces_num_points' in said


def test_points_are_drawn_each_in_its_color(run, tmp_path):
    root = write_poses(tmp_path / 'x')
    out = tmp_path / 'sheet.png'
    _, said = run(root, '--show', str(out))
    assert f'drew {out}: 2 training images with 1 of 1 classes' in said
    colors = {color for _, color in Image.open(out).convert('RGB').getcolors(1 << 24)}
    cfg = Config.fromfile(tmp_path / 'my_faces.py')
    points = [tuple(point.color) for point in cfg.dataset_info.keypoint_info.values()]
    assert set(points) < colors
    # Of a pair the other is the same color, paler.
    assert all(pale > color for color, pale in zip(points[0], points[1], strict=True))
    assert len(set(points)) == 3
    assert '--show' not in (tmp_path / 'my_faces.py').read_text()


@pytest.mark.parametrize('in_boxes', [True, False])
def test_the_lines_that_are_shown_make_a_stock_config_of_the_data_set(run, tmp_path, in_boxes):
    pytest.importorskip('mmpose.models', exc_type=ImportError)
    from mmadapt.datasets import check_data

    _, said = run(write_poses(tmp_path / 'x'))
    shown = said.split('A config of a model that ')[1 if in_boxes else 2].split('\n')[1:]
    leaf = tmp_path / 'leaf.py'
    leaf.write_text('\n'.join(line for line in shown if ' = ' in line))
    cfg = Config.fromfile(leaf)
    check_data(cfg)
    assert cfg.train_dataloader.dataset.ann_file == 'train/annotations_coco.json'
    assert len(cfg.train_dataloader.dataset.pipeline) > 3
    assert cfg.val_dataloader.dataset.get('bbox_file') is None
    assert cfg.val_evaluator.ann_file.endswith('x/validation/annotations_coco.json')
    key = 'out_channels' if in_boxes else 'num_keypoints'
    assert cfg.model.head[key] == len(NAMES)
    assert json.dumps(cfg.val_dataloader.dataset.metainfo) == json.dumps(
        cfg.test_dataloader.dataset.metainfo
    )
