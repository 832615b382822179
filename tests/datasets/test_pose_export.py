"""Exports of poses: each trap of MMPose is found, and what is right is left alone."""

import json
from pathlib import Path

import pytest
from coco_files import write_split
from pose_files import NAMES, PLACES, face, poses, write_poses

from mmadapt.datasets import keypoint_checks as checks
from mmadapt.datasets import pose_export as exports
from mmadapt.datasets.coco_checks import DUPLICATE_BOX_ID, EMPTY_BOX, NO_BOXES, NO_CROWD
from mmadapt.datasets.coco_export import NO_TEST
from mmadapt.datasets.layout import NO_FOLDER
from mmadapt.datasets.leaks import SAME_CONTENT
from mmadapt.datasets.pose_export import Said, read_pose_export
from mmadapt.datasets.use_checks import BAD_MARK
from mmadapt.errors import UserError


def found(export, split='train'):
    """Return what was found in the file of a split."""
    return {
        kind: details
        for file, kinds in export.problems.found.items()
        if split in (file, Path(file).parent.name)
        for kind, details in kinds.items()
    }


NOTHING = Said()


def read(tmp_path, *annotations, said=NOTHING, **category):
    return read_pose_export(
        write_poses(tmp_path / 'x', poses([*annotations, face(9, 2)], **category)), said=said
    )


def test_what_is_right_is_read_and_left_alone(tmp_path):
    export = read_pose_export(write_poses(tmp_path / 'x'))
    assert export.problems.kinds() == {NO_TEST}
    assert export.classes == ('face',)
    points = export.points
    assert points.names == NAMES
    assert points.pairs == (('left_eye', 'right_eye'),)
    assert points.skeleton == ((0, 1), (0, 2), (1, 2))
    assert points.sigmas == (0.025, 0.025, 0.026)
    train = export.splits['train']
    assert train.class_counts == dict(face=2)
    assert train.point_counts == [{2: 2}, {2: 2}, {1: 2}]


@pytest.mark.parametrize(
    ('changes', 'kind', 'detail'),
    [
        (dict(keypoints=PLACES[:6]), checks.OTHER_POINTS, 'has 6 values, not 9'),
        (dict(keypoints=[*PLACES[:8], 3]), checks.ODD_VISIBILITY, 'annotation 1: 3'),
        (dict(keypoints=[*PLACES[:8], 1.5]), checks.ODD_VISIBILITY, 'annotation 1: 1.5'),
        (dict(keypoints=[*PLACES[:8], -1]), checks.BAD_VISIBILITY, 'annotation 1: -1'),
        (dict(keypoints=[*PLACES[:8], 0.5]), checks.BAD_VISIBILITY, 'annotation 1: 0.5'),
        (dict(num_keypoints=0), checks.UNCOUNTED, 'annotation 1: 3 visible'),
        (dict(area=None), checks.NO_POINT_AREA, 'annotation 1'),
        (dict(area=0), checks.NO_POINT_AREA, 'annotation 1'),
        (dict(keypoints=None), checks.WITHOUT_POINTS, 'annotation 1'),
        (dict(keypoints=[]), checks.WITHOUT_POINTS, 'annotation 1'),
        (dict(keypoints=[*PLACES[:6], 14, 99, 2]), checks.POINTS_OUTSIDE, '14, 99 in 64 x 48'),
        (dict(keypoints=[*PLACES[:6], -9, 9, 1]), checks.POINTS_OUTSIDE, '-9, 9 in 64 x 48'),
        (dict(bbox=[40, 30, 9, 9]), checks.POINTS_ELSEWHERE, 'bbox [40, 30, 9, 9]'),
        (dict(keypoints=[*PLACES[:6], 14, 16, 0]), checks.UNSEEN, '1 of 3'),
        (dict(category_id=2), exports.OTHER_NAMES, "'nos' is no point there; nearest: 'nose'"),
        (dict(iscrowd='0'), BAD_MARK, "annotation 1, iscrowd '0'"),
        (dict(bbox=[4, 4, 0, 9]), EMPTY_BOX, 'bbox [4, 4, 0, 9]'),
        (dict(id=9), DUPLICATE_BOX_ID, 'id 9, 2 times'),
    ],
)
def test_a_trap_in_an_object_is_found_with_its_place(tmp_path, changes, kind, detail):
    categories = [
        dict(id=1, name='face', keypoints=list(NAMES)),
        dict(id=2, name='mask', keypoints=[*NAMES[:2], 'nos']),
    ]
    # What the training split is compared with comes first.
    export = read(tmp_path, face(3), face(1, **changes), categories=categories)
    assert [detail in said for said in found(export)[kind]] == [True]
    others = {kind, checks.OTHER_CATEGORY} if 'category_id' in changes else {kind}
    assert found(export).keys() == others


def test_points_that_no_one_uses_are_no_trap(tmp_path):
    nothing = dict(keypoints=[0] * 9, num_keypoints=0)
    export = read(tmp_path, face(1, **nothing), face(2, iscrowd=1), face(3, num_keypoints=None))
    assert not found(export)
    train = export.splits['train']
    assert len(train.counted) == 2
    assert train.left_out == dict(face=['without a visible point', 'marked iscrowd'])


def test_a_split_without_points_and_one_without_visible_ones_are_errors(tmp_path):
    hidden = dict(keypoints=[8, 10, 0] * 3, num_keypoints=3)
    for name, annotations, kind in (
        ('a', [face(1, keypoints=None)], checks.NO_POINTS),
        ('b', [face(1, **hidden), face(2, iscrowd=1)], checks.NOTHING_VISIBLE),
        ('c', [], NO_BOXES),
    ):
        for split in ('train', 'val'):
            root = write_poses(tmp_path / f'{name}_{split}', **{split: poses(annotations)})
            export = read_pose_export(root)
            kinds = found(export, 'train' if split == 'train' else 'validation')
            errors = {kind for kind in kinds if kind.severity == 'error'}
            assert errors == {kind}


def test_categories_are_one_with_id_1_or_told(tmp_path):
    two = [dict(id=1, name='face', keypoints=list(NAMES)), dict(id=2, name='mask')]
    assert not found(read(tmp_path, categories=two))
    export = read(tmp_path, face(1, category_id=2), categories=two)
    assert found(export) == {checks.OTHER_CATEGORY: ["1 of 2 'mask', 1 of 1 'face'"]}
    assert export.classes == ('face', 'mask')
    # A category of which no object has points is none of poses.
    car = [*two, dict(id=3, name='car')]
    export = read(tmp_path, face(1), face(2, category_id=3, keypoints=None), categories=car)
    assert export.classes == ('face',)
    assert found(export).keys() == {checks.WITHOUT_POINTS}


def test_names_that_are_missing_too_few_or_used_twice_are_errors(tmp_path):
    for names, kind in (
        (None, exports.NO_NAMES),
        ([], exports.NO_NAMES),
        (list(NAMES[:2]), exports.OTHER_NUMBER),
        ([*NAMES[:2], 'left_eye'], exports.DUPLICATE_POINT),
    ):
        export = read(tmp_path, keypoints=names)
        assert kind in found(export)
        assert export.points is None
        # Names that are typed are better ones.
        assert read(tmp_path, said=Said(('a', 'b', 'c')), keypoints=names).points.names == tuple(
            'abc'
        )
    export = read(tmp_path, said=Said(('a', 'b')))
    assert found(export, '--keypoints') == {exports.OTHER_NUMBER: ['2 names, 3 points']}


def test_names_in_another_order_in_validation_are_an_error(tmp_path):
    val = poses([face(1)], keypoints=['right_eye', 'left_eye', 'nose'])
    root = write_poses(tmp_path / 'x', val=val)
    (detail,) = found(read_pose_export(root), 'validation')[exports.OTHER_NAMES]
    assert detail.endswith('right_eye, left_eye, nose instead of left_eye, right_eye, nose')
    assert not read_pose_export(root, said=Said(NAMES)).problems.has_errors


def test_lines_of_a_skeleton_are_told_where_they_are_wrong_or_count_from_0(tmp_path):
    export = read(tmp_path, skeleton=[[1, 2], [3, 4]])
    assert found(export) == {exports.BAD_LINES: ['[3, 4] of 3 points']}
    assert export.points.skeleton == ((0, 1),)
    export = read(tmp_path, skeleton=[[0, 1], [1, 2]])
    assert found(export).keys() == {exports.FROM_ZERO}
    assert export.points.skeleton == ((0, 1), (1, 2))


def test_sides_are_told_where_they_are_doubtful_and_not_where_they_are_typed(tmp_path):
    for names, kind in (
        (['left_eye', 'right_ey', 'nose'], exports.ONE_SIDE),
        (['a', 'b', 'c'], exports.NO_SIDES),
    ):
        assert found(read(tmp_path, keypoints=names)).keys() == {kind}
        assert not found(read(tmp_path, keypoints=names, said=Said(pairs='none')))
        pairs = f'{names[0]}:{names[1]}'
        export = read(tmp_path, keypoints=names, said=Said(pairs=pairs))
        assert export.points.pairs == (tuple(names[:2]),)
        assert not found(export)
    with pytest.raises(UserError, match="'eye'"):
        read(tmp_path, said=Said(pairs='eye:nose'))
    assert read(tmp_path, said=Said(sigmas='0.04')).points.sigmas == (0.04,) * 3


def test_what_only_evaluation_stops_at_is_told_of_validation(tmp_path):
    content = poses([face(1, iscrowd=None), face(0, 2)])
    export = read_pose_export(write_poses(tmp_path / 'x', content, content))
    assert not found(export)
    # xtcocotools, unlike pycocotools, takes an id of 0 for one like others.
    assert found(export, 'validation').keys() == {NO_CROWD}
    crowded = poses([face(i) for i in range(1, 22)])
    export = read_pose_export(write_poses(tmp_path / 'y', crowded, crowded))
    assert not found(export)
    assert found(export, 'validation') == {checks.MANY_OBJECTS: ['v1.png: 21 objects']}


def test_areas_of_boxes_are_told(tmp_path):
    assert found(read(tmp_path, face(1, area=400))) == {}
    content = poses([face(1, area=400), face(2, area=400.0001)])
    export = read_pose_export(write_poses(tmp_path / 'y', content))
    assert found(export).keys() == {checks.BOX_AREAS}


def test_ids_of_images_that_are_text_are_an_error(tmp_path):
    content = poses([face(1, 'a'), face(2, 'b')])
    for image, name in zip(content['images'], 'ab', strict=True):
        image['id'] = name
    export = read_pose_export(write_poses(tmp_path / 'x', content))
    assert found(export)[exports.TEXT_IDS] == ["2 of 2, for instance 'a'"]
    for image, number in zip(content['images'], (1, 2.0), strict=True):
        image['id'] = number
    export = read_pose_export(write_poses(tmp_path / 'y', content))
    assert exports.TEXT_IDS not in found(export)


def test_images_of_two_splits_are_found_as_for_boxes(tmp_path):
    root = write_poses(tmp_path / 'x')
    write_split(root / 'validation', poses([face(1)]), seed=9)
    assert SAME_CONTENT in read_pose_export(root).problems.kinds()


def test_a_folder_that_is_not_there_and_a_file_that_is_not_json_are_told(tmp_path):
    assert read_pose_export(tmp_path / 'none').problems.kinds() == {NO_FOLDER}
    root = write_poses(tmp_path / 'x')
    (root / 'train' / 'annotations_coco.json').write_text('{')
    export = read_pose_export(root)
    assert export.points is None
    assert export.problems.has_errors
    (root / 'train' / 'annotations_coco.json').write_text(json.dumps([]))
    assert read_pose_export(root).problems.has_errors
