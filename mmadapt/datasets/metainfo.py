"""The description of points that MMPose's data sets, and some of its models, are built with.

MMPose asserts that its five keys are there, with an empty message, and compares no lengths: a wrong
one is a NumPy error in the first evaluation, or a broadcast without one.
"""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..errors import UserError
from ..values import is_number, nearest

# What each key is for N points, for those who have to write it.
_KEYS = dict(
    dataset_name="dataset_name='mine'",
    keypoint_info="keypoint_info={0: dict(name='left_eye', id=0, swap='right_eye'), ...}",
    skeleton_info='skeleton_info={} where no lines are to be drawn',
    joint_weights='joint_weights=[1.0] * N',
    sigmas="sigmas=[0.025] * N, COCO's for the eyes, more where annotators differ more",
)


def read_metainfo(given: Mapping, place: str) -> tuple[dict[str, Any], str]:
    """Return a description of points as MMPose will read it.

    Args:
        given (dict): What a config has: the description, or ``from_file`` with the path of one.
        place (str): Where, for messages.

    Returns:
        tuple[dict, str]: The description, and where it stands.

    Raises:
        UserError: There is no such file, or it holds none.
    """
    if 'from_file' not in given:
        return dict(given), place
    path = Path(given['from_file'])
    if not path.is_file():
        stock = _stock_folder()
        path = stock / path.name
        if not path.is_file():
            names = sorted(file.name for file in stock.glob('*.py'))
            raise UserError(
                f'{place}: there is no file {given["from_file"]}, here or among those of MMPose; '
                f'nearest: {nearest(path.name, names)}'
            )
    info = Config.fromfile(path).get('dataset_info')
    if not isinstance(info, Mapping):
        raise UserError(f'{place}: {path} has no dataset_info, by which name MMPose reads points')
    return dict(info), str(path)


def _stock_folder() -> Path:
    package = import_module('mmpose').__file__
    assert package is not None
    return Path(package).parent / '.mim' / 'configs' / '_base_' / 'datasets'


def check_metainfo(info: Mapping, place: str, by_oks: bool = True) -> int:
    """Check a description of points.

    Args:
        info (dict): What :func:`read_metainfo` returns.
        place (str): Where it stands, for messages.
        by_oks (bool): Whether predictions are compared by OKS, for which each point has a sigma;
            MMPose's own descriptions of faces and hands have none.

    Returns:
        int: The number of points.

    Raises:
        UserError: A key is missing, has another length than there are points, or names none.
    """
    points = info.get('keypoint_info')
    n: int | str = len(points) if isinstance(points, Mapping) else 'N'
    for key, example in _KEYS.items():
        if key not in info:
            raise UserError(
                f'{place} has no {key}, without which MMPose stops with an empty message; write '
                f'{_written(example, n)}'
            )
    if not isinstance(points, Mapping) or not points:
        raise UserError(f'{place}.keypoint_info describes no point; write {_KEYS["keypoint_info"]}')
    for key in ('sigmas', 'joint_weights') if by_oks or len(info['sigmas']) else ('joint_weights',):
        _check_length(info[key], len(points), f'{place}.{key}', _KEYS[key])
    if not all(is_number(sigma) and sigma > 0 for sigma in info['sigmas']):
        raise UserError(
            f'{place}.sigmas={list(info["sigmas"])}: where one is not above 0, no prediction is '
            f'ever right; write {_written(_KEYS["sigmas"], n)}'
        )
    names = _check_names(points, place)
    for i, point in points.items():
        if point.get('swap'):
            _check_known(point['swap'], names, f'{place}.keypoint_info[{i}].swap')
    _check_lines(info['skeleton_info'], names, place)
    return len(points)


def _check_names(points: Mapping, place: str) -> list[str]:
    """Return the names, by which MMPose finds points; their keys are their places in the file."""
    if list(points) != list(range(len(points))):
        raise UserError(
            f'{place}.keypoint_info counts its points {", ".join(map(str, points))}: MMPose takes '
            f'these keys for places in the file; write 0 to {len(points) - 1}, in this order'
        )
    names = [point.get('name') for point in points.values()]
    for i, name in enumerate(names):
        if not name or name in names[:i]:
            fault = f'has the name of {names.index(name)}, {name!r}' if name else 'has no name'
            raise UserError(
                f'{place}.keypoint_info[{i}] {fault}: MMPose finds points by their names; give '
                'each its own'
            )
    return names


def check_swaps(info: Mapping, place: str, own: bool) -> str:
    """Check that points change places in pairs in mirrored images.

    Args:
        info (dict): A description that :func:`check_metainfo` has passed.
        place (str): Where it stands, for messages.
        own (bool): Whether a config has it itself, and not the class of its data set.

    Returns:
        str: The first that does not in a description that MMPose or a class brings; such is used
        as it is everywhere, so a warning is enough. '' where there is none.

    Raises:
        UserError: One does not, in a description that the user can correct.
    """
    points = info['keypoint_info']
    swaps = {point['name']: point.get('swap') or point['name'] for point in points.values()}
    for i, point in points.items():
        name, other = point['name'], swaps[point['name']]
        if swaps[other] == name:
            continue
        (back,) = (p.get('swap', '') for p in points.values() if p['name'] == other)
        fault = f'{place}.keypoint_info[{i}].swap is {other!r}, whose own swap is {back!r}'
        if own and _stock_folder() not in Path(place).parents:
            raise UserError(
                f'{fault}: flipped images would have one point twice; write swap={name!r} there'
            )
        return (
            f'{fault}: flipped images have one point twice; give the data set a metainfo of its '
            'own where that matters'
        )
    return ''


def _check_lines(lines: Any, names: list[str], place: str) -> None:
    """Check that each line of the skeleton joins two points."""
    example = "{0: dict(link=('left_eye', 'right_eye'), id=0), ...}, or {}"
    if not isinstance(lines, Mapping):
        raise UserError(f'{place}.skeleton_info is {lines!r}; write {example}')
    for i, line in lines.items():
        link = line.get('link') if isinstance(line, Mapping) else None
        where = f'{place}.skeleton_info[{i}].link'
        if not isinstance(link, (list, tuple)) or len(link) != 2:
            raise UserError(f'{where} is {link!r}, not two names of points; write {example}')
        for end in link:
            _check_known(end, names, where)


def _check_known(name: Any, names: list[str], place: str) -> None:
    if name not in names:
        raise UserError(
            f'{place} names {name!r}, which is no point; nearest: {nearest(name, names)}'
        )


def _check_length(values: Sequence, points: int, place: str, example: str) -> None:
    if len(values) != points:
        raise UserError(
            f'{place} has {len(values)} values for {points} points; write '
            f'{_written(example, points)}'
        )


def _written(example: str, points: int | str) -> str:
    return example.replace('* N', f'* {points}')
