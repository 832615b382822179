"""Where objects are, for a pose model that looks into boxes: from a COCO file or from results."""

import json
from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError
from ..values import nearest
from .results import IMAGES, RESULTS


def read_boxes(
    file: str, score: float, names: Sequence[str], classes: Sequence[str] = ()
) -> dict[str, list]:
    """Read where objects are, for a pose model that looks into boxes.

    Args:
        file (str): A COCO annotation file, or a ``results.json`` with its ``images.json`` beside.
        score (float): Results that are less sure are left out.
        names (Sequence[str]): Of the images to look at.
        classes (Sequence[str]): Names of the categories whose boxes are taken. By default of the
            one that has boxes in these images.

    Returns:
        dict[str, list]: (x1, y1, x2, y2) in pixels, by image name.

    Raises:
        UserError: The file is not one of these, it has no such category, no box in any of the
            images, or boxes of several categories and none was chosen.
    """
    try:
        content = json.loads(Path(file).read_text(encoding='utf-8'))
        entries = content if isinstance(content, list) else content['annotations']
        of = (
            json.loads(Path(file).with_name(IMAGES).read_text(encoding='utf-8'))
            if isinstance(content, list)
            else content
        )
        images = {image['id']: image['file_name'] for image in of['images']}
        named = {each['id']: str(each['name']) for each in of.get('categories') or ()}
        boxes: dict[str, dict[str, list]] = {}  # by category and image
        for entry in entries:
            if entry.get('score', 1) >= score:
                x, y, w, h = entry['bbox']
                number = entry.get('category_id')
                of_class = boxes.setdefault(named.get(number, f'category {number}'), {})
                of_class.setdefault(images[entry['image_id']], []).append((x, y, x + w, y + h))
    except (AttributeError, OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f'--boxes {file}: {type(error).__name__}: {error}; it is to be a COCO annotation file, '
            f'or the {RESULTS} of `mmadapt predict` with {IMAGES} beside it'
        ) from None
    known = [*dict.fromkeys([*named.values(), *boxes])]
    for name in classes:
        if name not in known:
            raise UserError(
                f'--boxes-of {name}: {file} has no such category; nearest: {nearest(name, known)}'
            )
    chosen = {name: found for name, found in boxes.items() if not classes or name in classes}
    about = [*dict.fromkeys(image for found in chosen.values() for image in found)]
    here = [name for name, found in chosen.items() if not found.keys().isdisjoint(names)]
    if not here:
        what = f' of {", ".join(classes)}' if classes else ''
        raise UserError(
            f'--boxes {file} has no box{what} in any of these images'
            + (f'; it is about {", ".join(about[:3])}, ...' if about else '')
        )
    if len(here) > 1 and not classes:
        raise UserError(
            f'--boxes {file} has boxes of {len(here)} categories in these images: '
            f'{", ".join(here)}; --boxes-of {here[0]!r} takes those of one, and all their names '
            'those of all'
        )
    joined: dict[str, list] = {}
    for name in here:
        for image, found in boxes[name].items():
            joined.setdefault(image, []).extend(found)
    return joined
