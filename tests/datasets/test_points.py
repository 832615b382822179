"""Points of poses: sides by their names, sigmas, lines, and what is typed of them."""

import pytest

from mmadapt.datasets.points import (
    COCO_SIGMAS,
    Points,
    body_half,
    coco_name,
    default_sigmas,
    pairs_by_name,
    read_pairs,
    read_sigmas,
    read_skeleton,
)
from mmadapt.errors import UserError


@pytest.mark.parametrize(
    ('one', 'other'),
    [
        ('left_eye', 'right_eye'),
        ('Left Eye', 'Right Eye'),
        ('leftEye', 'rightEye'),
        ('LEFT-EYE', 'RIGHT-EYE'),
        ('eye_left', 'eye_right'),
        ('lefteye', 'righteye'),
        ('l_eye', 'r_eye'),
        ('Eye.L', 'Eye.R'),
        ('LEye', 'REye'),
        ('eyeL', 'eyeR'),
        ('left_front_paw', 'right_front_paw'),
    ],
)
def test_sides_are_found_however_they_are_written(one, other):
    assert pairs_by_name([one, 'nose', other]) == (((one, other),), ())
    assert pairs_by_name([other, one]) == (((other, one),), ())


def test_what_only_sounds_like_a_side_is_none():
    names = [
        'tail',
        'mule',
        'bright',
        'bleft',
        'roll',
        'label',
        'r1',
        'l',
        'upper_lip',
        'upper_rip',
    ]
    assert pairs_by_name(names) == ((('bright', 'bleft'),), ())
    assert pairs_by_name(['nose', 'chin']) == ((), ())


def test_a_side_without_the_other_is_told():
    assert pairs_by_name(['left_eye', 'right_eey', 'nose']) == ((), ('left_eye', 'right_eey'))


def test_pairs_that_are_typed_are_read_or_refused_with_the_nearest_name():
    names = ('a_eye', 'b_eye', 'nose')
    assert read_pairs('a_eye:b_eye', names) == (('a_eye', 'b_eye'),)
    assert read_pairs(' None ', names) == ()
    with pytest.raises(UserError, match="names 'a_eey', which is no point; nearest: 'a_eye'"):
        read_pairs('a_eey:b_eye', names)
    with pytest.raises(UserError, match="'a_eye' twice"):
        read_pairs('a_eye:b_eye,a_eye:nose', names)
    for wrong in ('a_eye', 'a_eye:', 'a_eye:b_eye:nose', 'a_eye:b_eye,'):
        with pytest.raises(UserError, match='write A:B,C:D'):
            read_pairs(wrong, names)


def test_sigmas_are_those_of_coco_and_of_mmpose_where_coco_has_the_point():
    pytest.importorskip('mmpose.models', exc_type=ImportError)
    from mmadapt.datasets.metainfo import read_metainfo

    info, _ = read_metainfo(dict(from_file='configs/_base_/datasets/coco.py'), '')
    names = [point['name'] for point in info['keypoint_info'].values()]
    assert list(default_sigmas(names)) == list(info['sigmas'])
    assert len(COCO_SIGMAS) == 17
    halves = [point['type'] for point in info['keypoint_info'].values()]
    assert [body_half(name) for name in names] == halves


def test_other_points_have_one_constant():
    assert default_sigmas(['nose', 'tail', 'Left Eye']) == (0.026, 0.05, 0.025)
    assert [coco_name(n) for n in ('leftEye', 'Left-Eye', 'NOSE')] == [
        'left_eye',
        'left_eye',
        'nose',
    ]
    assert body_half('tail') == ''


def test_sigmas_that_are_typed_are_one_or_one_a_point():
    assert read_sigmas('0.03', 'abc') == (0.03,) * 3
    assert read_sigmas('0.03, .1,0.2', 'abc') == (0.03, 0.1, 0.2)
    for wrong in ('0.1,0.2', '0', '-0.1', '1.5', 'eye', ''):
        with pytest.raises(UserError, match=r'one for each of the 3 points \(a, b, c\)'):
            read_sigmas(wrong, 'abc')


def test_a_skeleton_counts_from_1_unless_it_names_a_point_0():
    assert read_skeleton([[1, 2], [2, 3]], 3) == (((0, 1), (1, 2)), [], False)
    assert read_skeleton([[0, 1], [1, 2]], 3) == (((0, 1), (1, 2)), [], True)
    assert read_skeleton(None, 3) == read_skeleton([], 3) == ((), [], False)


def test_lines_that_join_no_two_points_are_told():
    wrong = [[1, 4], [2, 2], [1], ['a', 'b'], 7]
    pairs, told, _ = read_skeleton([[1, 3], *wrong], 3)
    assert pairs == ((0, 2),)
    assert sorted(map(str, told)) == sorted(map(str, wrong))
    # Counted from 0, three points have no point 3.
    assert read_skeleton([[0, 3], [0, 2]], 3) == (((0, 2),), [[0, 3]], True)
    assert read_skeleton('1-2', 3) == ((), ['1-2'], False)


def test_each_of_a_pair_is_the_other_of_its_other():
    assert Points(('a', 'b', 'c'), (('a', 'b'),)).swaps == dict(a='b', b='a')
