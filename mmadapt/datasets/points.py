"""The points of a pose: their names, which change places in a mirror, their lines, their sigmas."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import UserError
from ..values import is_integer, nearest

# Half of COCO's fall-offs k: by how much of the square root of an object's area annotators differ.
# https://cocodataset.org/#keypoints-eval
COCO_SIGMAS = dict(
    nose=0.026,
    **dict.fromkeys(('left_eye', 'right_eye'), 0.025),
    **dict.fromkeys(('left_ear', 'right_ear'), 0.035),
    **dict.fromkeys(('left_shoulder', 'right_shoulder'), 0.079),
    **dict.fromkeys(('left_elbow', 'right_elbow'), 0.072),
    **dict.fromkeys(('left_wrist', 'right_wrist'), 0.062),
    **dict.fromkeys(('left_hip', 'right_hip'), 0.107),
    **dict.fromkeys(('left_knee', 'right_knee'), 0.087),
    **dict.fromkeys(('left_ankle', 'right_ankle'), 0.089),
)
# Between COCO's eyes and its shoulders.
OTHER_SIGMA = 0.05
_LOWER = ('hip', 'knee', 'ankle')
_LONG = re.compile('left|right', re.IGNORECASE)
# A letter alone, before a capital, or a capital at the end: l_eye, LEye, eyeL.
_SHORT = re.compile(r'(?<![A-Za-z])[lrLR](?![A-Za-z])|^[lrLR](?=[A-Z])|(?<=[a-z])[LR]$')
_OTHER = dict(left='right', right='left', l='r', r='l')


@dataclass(frozen=True)
class Points:
    """The points that every object of a data set has.

    Args:
        names (tuple[str, ...]): Their names, in the order of the files.
        pairs (tuple[tuple[str, str], ...]): Those that change places in a mirrored image.
        skeleton (tuple[tuple[int, int], ...]): Pairs that a line joins, from 0.
        sigmas (tuple[float, ...]): How exactly each can be placed, as OKS has it.
    """

    names: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...] = ()
    skeleton: tuple[tuple[int, int], ...] = ()
    sigmas: tuple[float, ...] = ()

    @property
    def swaps(self) -> dict[str, str]:
        """dict[str, str]: The other point of each that has one."""
        return {a: b for one, other in self.pairs for a, b in ((one, other), (other, one))}


def _mirrored(name: str) -> list[str]:
    """Return what the point on the other side may be called."""

    def other(match: re.Match) -> str:
        word = match[0]
        turned = _OTHER[word.lower()]
        if word.isupper():
            return turned.upper()
        return turned.title() if word[0].isupper() else turned

    return [pattern.sub(other, name) for pattern in (_LONG, _SHORT) if pattern.search(name)]


def pairs_by_name(names: Sequence[str]) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """Find points that change places in a mirrored image by left and right in their names.

    Args:
        names (Sequence[str]): The names, such as left_eye, eyeLeft, l_eye, L-Eye, LEye or eyeL.

    Returns:
        tuple[tuple[tuple[str, str], ...], tuple[str, ...]]: The pairs, and what names a side and
        has no other.
    """
    pairs: list[tuple[str, str]] = []
    alone = []
    for name in names:
        found = [other for other in _mirrored(name) if other in names]
        if found and not any(name in pair or found[0] in pair for pair in pairs):
            pairs.append((name, found[0]))
        # A letter may mean something else, a word does not.
        words = coco_name(name).split('_')
        if not found and any(word.startswith(('left', 'right')) for word in words):
            alone.append(name)
    return tuple(pairs), tuple(alone)


def read_pairs(text: str, names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Read what --flip-pairs says.

    Args:
        text (str): 'left_eye:right_eye,left_ear:right_ear', or 'none'.
        names (Sequence[str]): The names of the points.

    Returns:
        tuple[tuple[str, str], ...]: The pairs.

    Raises:
        UserError: It is something else, or names what is no point or one point twice.
    """
    if text.strip().lower() == 'none':
        return ()
    pairs = [tuple(part.strip() for part in pair.split(':')) for pair in text.split(',')]
    if any(len(pair) != 2 or not all(pair) for pair in pairs):
        raise UserError(f'--flip-pairs {text}: write A:B,C:D with names of points, or none')
    used = [name for pair in pairs for name in pair]
    for name in used:
        if name not in names:
            raise UserError(
                f'--flip-pairs names {name!r}, which is no point; nearest: {nearest(name, names)}'
            )
        if used.count(name) > 1:
            raise UserError(f'--flip-pairs names {name!r} twice: a point has one other at most')
    return tuple((one, other) for one, other in pairs)


def coco_name(name: str) -> str:
    """Return a name as COCO would write it: 'Left Eye' and 'leftEye' give 'left_eye'."""
    spaced = re.sub(r'(?<=[a-z])(?=[A-Z])', '_', name.strip())
    return re.sub('[^0-9a-z]+', '_', spaced.lower()).strip('_')


def body_half(name: str) -> str:
    """Return 'upper' or 'lower' for a point of COCO's body, '' for any other."""
    known = coco_name(name)
    if known not in COCO_SIGMAS:
        return ''
    return 'lower' if known.split('_')[-1] in _LOWER else 'upper'


def default_sigmas(names: Sequence[str]) -> tuple[float, ...]:
    """Return COCO's sigmas for the points that COCO has, by name, and one constant for others."""
    return tuple(COCO_SIGMAS.get(coco_name(name), OTHER_SIGMA) for name in names)


def read_sigmas(text: str, names: Sequence[str]) -> tuple[float, ...]:
    """Read what --sigmas says.

    Args:
        text (str): One number, or one for each point.
        names (Sequence[str]): The names of the points.

    Returns:
        tuple[float, ...]: A number for each point.

    Raises:
        UserError: It says something else.
    """
    try:
        values = [float(part) for part in text.split(',')]
    except ValueError:
        values = []
    if len(values) == 1:
        values *= len(names)
    if len(values) != len(names) or not all(0 < value < 1 for value in values):
        raise UserError(
            f'--sigmas {text}: write one number between 0 and 1, or one for each of the '
            f"{len(names)} points ({', '.join(names)}), such as 0.025, COCO's for an eye"
        )
    return tuple(values)


def names_of(category: Mapping) -> tuple[str, ...] | None:
    """Return the names that a category of a COCO file gives its points, None where it has none."""
    names = category.get('keypoints')
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        return None
    return tuple(names)


def read_skeleton(
    lines: object, count: int
) -> tuple[tuple[tuple[int, int], ...], list[object], bool]:
    """Read the skeleton of a category, which COCO counts from 1.

    Args:
        lines (object): What the file has: a list of pairs.
        count (int): How many points there are.

    Returns:
        tuple[tuple[tuple[int, int], ...], list[object], bool]: The pairs from 0; what joins no two
        points; and whether the file counts from 0, since it names a point 0.
    """
    if lines in (None, []):
        return (), [], False
    if not isinstance(lines, list):
        return (), [lines], False
    pairs: list[Sequence[int]] = []
    wrong: list[object] = []
    for line in lines:
        good = isinstance(line, (list, tuple)) and len(line) == 2 and all(map(is_integer, line))
        (pairs if good else wrong).append(line)
    from_zero = any(0 in pair for pair in pairs)
    first = 0 if from_zero else 1
    inside = range(first, first + count)
    joined = []
    for one, other in pairs:
        if one in inside and other in inside and one != other:
            joined.append((one - first, other - first))
        else:
            wrong.append([one, other])
    return tuple(joined), wrong, from_zero
