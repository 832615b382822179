"""Corrected copies of files of poses: everything that is mended, and nothing else changed."""

import json

from pose_files import NAMES, PLACES, face, poses, write_poses

from mmadapt.datasets.pose_export import read_pose_export
from mmadapt.datasets.pose_fix import fix_poses, write_fixed_poses


def fixed(tmp_path, *annotations, **category):
    """Return the annotations of a copy, the categories, and what was done."""
    content = poses([*annotations], **category)
    export = read_pose_export(write_poses(tmp_path / 'x', poses([face(1)]), None))
    before = json.dumps(content)
    folder = export.splits['train'].image_dir
    copy, done = fix_poses(content, folder, export.points, 'face', ('face', 'doll'))
    assert json.dumps(content) == before
    return copy['annotations'], copy['categories'], done


def test_what_is_right_stays_as_it_is(tmp_path):
    right = [face(1), face(2, 2, keypoints=[0] * 9, num_keypoints=0)]
    annotations, categories, done = fixed(tmp_path, *right)
    assert done == []
    assert annotations == right
    assert categories == poses([])['categories']


def test_visibilities_places_and_counts_are_mended(tmp_path):
    annotations, _, done = fixed(
        tmp_path,
        face(1, keypoints=[8, 10, 3, 20, 10, -1, 14, 16, 0.5], num_keypoints=0),
        face(2, keypoints=[*PLACES[:6], 99, 16, 1]),
    )
    assert annotations[0]['keypoints'] == [8, 10, 2, 20, 10, 0, 14, 16, 2]
    assert annotations[1]['keypoints'] == [*PLACES[:6], 0, 0, 0]
    assert [a['num_keypoints'] for a in annotations] == [2, 2]
    assert done == [
        'wrote the visibility of 3 points as 0 or 2',
        'gave 1 points outside their image visibility 0',
        'counted the points of 2 objects anew',
    ]


def test_an_area_that_is_missing_is_about_half_of_the_box(tmp_path):
    annotations, _, done = fixed(tmp_path, face(1, area=None), face(2, area=0), face(3, area=77))
    assert [round(a['area'], 6) for a in annotations] == [212, 212, 77]  # 0.53 x 20 x 20
    assert done == ['set the area of 2 objects to 0.53 x width x height']


def test_objects_without_points_get_some_that_no_one_labeled_and_other_things_go(tmp_path):
    categories = [
        dict(id=3, name='face', keypoints=list(NAMES)),
        dict(id=4, name='car'),
        dict(id=5, name='doll'),
    ]
    annotations, left, done = fixed(
        tmp_path,
        face(1, category_id=3),
        face(2, category_id=3, keypoints=None, num_keypoints=None),
        face(3, category_id=4, keypoints=None),
        face(4, category_id=5),
        categories=categories,
    )
    assert [a['id'] for a in annotations] == [1, 2, 4]
    assert annotations[1]['keypoints'] == [0] * 9
    assert annotations[1]['num_keypoints'] == 0
    assert {a['category_id'] for a in annotations} == {1}
    assert [(c['id'], c['name'], c['keypoints']) for c in left] == [(1, 'face', list(NAMES))]
    assert done == [
        'dropped 1 annotations of categories without keypoints',
        'gave 1 annotations points of visibility 0',
        "made one category of all, 'face' with id 1",
    ]


def test_boxes_marks_and_ids_are_mended_as_in_files_of_boxes(tmp_path):
    annotations, _, done = fixed(
        tmp_path, face(1, bbox=[4, 4, 0, 9]), face(2, iscrowd='0'), face(2, iscrowd=None)
    )
    assert [(a['id'], a['iscrowd']) for a in annotations] == [(1, 0), (2, 0)]
    assert len(done) == 4


def test_a_category_that_has_points_in_one_split_is_kept_in_all(tmp_path):
    categories = [dict(id=1, name='cat', keypoints=list(NAMES)), dict(id=2, name='dog')]
    bare = dict(keypoints=None, num_keypoints=None)
    train = poses([face(1), face(2, category_id=2)], categories=categories)
    val = poses([face(1), face(2, category_id=2, **bare)], categories=categories)
    export = read_pose_export(write_poses(tmp_path / 'x', train, val))
    copies = {split.name: path for split, path, _ in write_fixed_poses(export, export.points)}
    kept = json.loads(copies['val'].read_text())['annotations']
    assert [(a['id'], a['num_keypoints']) for a in kept] == [(1, 3), (2, 0)]


def test_copies_lie_beside_the_files_that_need_them_and_are_right(tmp_path):
    wrong = poses([face(1, num_keypoints=0), face(2, category_id=3)])
    wrong['categories'].append(dict(wrong['categories'][0], id=3))
    root = write_poses(tmp_path / 'x', val=wrong)
    export = read_pose_export(root)
    ((split, path, _),) = write_fixed_poses(export, export.points)
    assert (split.name, path) == ('val', root / 'validation' / 'pose_annotations_fixed.json')
    again = read_pose_export(root, dict(val='validation/pose_annotations_fixed.json'))
    assert not again.problems.kinds('error') | again.problems.kinds('warning')
    # The copy is no export of its own: without a choice the file is read.
    assert read_pose_export(root).splits['val'].ann_file.name == 'annotations_coco.json'
