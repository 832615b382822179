"""Points in COCO files, without any library: what is found, and what is left alone."""

from mmadapt.datasets.keypoint_checks import (
    NO_POINT_AREA,
    NO_POINTS,
    NOTHING_VISIBLE,
    OTHER_POINTS,
    UNCOUNTED,
    WITHOUT_POINTS,
    check_keypoints,
    number_of_points,
    points_of,
    why_unused,
)
from mmadapt.datasets.problems import Problems

THREE = [1, 2, 2, 3, 4, 1, 0, 0, 0]


def found(*annotations, points=3):
    problems = Problems()
    good = dict(id=1, keypoints=THREE, num_keypoints=2, area=9.5)
    check_keypoints([dict(good, **a) for a in annotations], points, 'a.json', problems)
    return {kind: details for kinds in problems.found.values() for kind, details in kinds.items()}


def test_points_are_three_numbers_each():
    assert points_of(dict(keypoints=THREE)) == 3
    for wrong in (THREE[:-1], [], None, [*THREE[:-1], '2'], 'abc'):
        assert points_of(dict(keypoints=wrong)) is None
    assert points_of({}) is None


def test_most_objects_decide_how_many_points_there_are():
    objects = [dict(keypoints=THREE), dict(keypoints=THREE), dict(keypoints=THREE * 2), {}]
    assert number_of_points(objects) == 3
    assert number_of_points([{}, dict(keypoints=[1])]) is None


def test_what_is_right_is_left_alone():
    assert not found({}, dict(keypoints=[0] * 9, num_keypoints=0), dict(num_keypoints=3))
    # mmpose counts itself where the key is missing.
    problems = Problems()
    check_keypoints([dict(id=1, keypoints=THREE, area=1)], 3, 'a.json', problems)
    assert not problems.found


def test_an_object_of_another_length_is_named_with_its_own():
    assert found({}, dict(id=7, keypoints=THREE[:-3])) == {
        OTHER_POINTS: ['annotation 7: keypoints has 6 values, not 9']
    }
    assert set(found(dict(keypoints='none'))) == {OTHER_POINTS}


def test_an_object_that_is_called_empty_and_is_not_is_named():
    assert found(dict(id=4, num_keypoints=0)) == {UNCOUNTED: ['annotation 4: 2 visible']}


def test_an_object_without_a_positive_area_is_named():
    assert found(dict(id=3, area=None), dict(id=4)) == {NO_POINT_AREA: ['annotation 3']}
    assert set(found(dict(area='9'))) == set(found(dict(area=0))) == {NO_POINT_AREA}


def test_a_file_of_boxes_is_named_and_boxes_among_points_are():
    assert set(found(dict(keypoints=[]), dict(keypoints=None))) == {NO_POINTS}
    assert found({}, dict(id=5, keypoints=[])) == {WITHOUT_POINTS: ['annotation 5']}


def test_a_file_in_which_nothing_is_labeled_is_named():
    nothing = dict(keypoints=[1, 2, 0] * 3)
    assert set(found(nothing, dict(iscrowd=1))) == {NOTHING_VISIBLE}
    assert not found(nothing, {})
    assert why_unused(dict(keypoints=THREE)) is None
    assert why_unused(dict(keypoints=[])) == 'without points'
    assert why_unused(nothing) == 'without a visible point'
    assert why_unused(dict(keypoints=THREE, iscrowd=1)) == 'marked iscrowd'
