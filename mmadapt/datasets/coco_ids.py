"""Ids that are no whole numbers: what text and float ids of a COCO file stand for.

MMDetection looks ids up as they are: text works for images and categories, an annotation of image
"1" beside an image 1 belongs to no image, and the evaluation makes numbers of annotations' ids.
"""

from collections.abc import Iterable

from ..values import is_integer
from .problems import Kind, Problems

NOT_WHOLE = Kind(
    'note',
    'ids that are no whole numbers',
    'MMDetection takes them, other programs may not; --fix writes whole numbers',
    True,
)
NOT_FOUND = Kind(
    'error',
    'ids that are text in one place and a number in another, or text where '
    'evaluation needs a number',
    '--fix writes whole numbers',
    True,
)


def _is_id(value) -> bool:
    return (
        is_integer(value)
        or (isinstance(value, str) and bool(value))
        or (isinstance(value, float) and value.is_integer())
    )


def _text(value) -> str:
    """Return the same for 7, 7.0, '7' and '7.0'."""
    try:
        return str(int(float(value)))
    except (ValueError, OverflowError):
        return str(value)


def _numbers(ids: Iterable) -> dict:
    """Return a whole number for each id: its own where all are numbers, else its place from 1."""
    ids = list(dict.fromkeys(ids))
    texts = [_text(value) for value in ids]
    if len(set(texts)) == len(ids) and all(text.lstrip('-').isdigit() for text in texts):
        return {value: int(text) for value, text in zip(ids, texts, strict=True)}
    return {value: number for number, value in enumerate(ids, start=1)}


def _work(own: list, named: list) -> bool:
    """Return whether MMDetection finds every id that is there in one form or another."""
    exact, texts = set(own), {_text(value) for value in own}
    one_kind = len({isinstance(value, str) for value in own}) < 2
    return one_kind and all(value in exact or _text(value) not in texts for value in named)


class _Renumbering:
    """Whole numbers for the ids of one list, found also where they are written otherwise."""

    def __init__(self, entries: list[dict]) -> None:
        ids = [entry['id'] for entry in entries if _is_id(entry.get('id'))]
        self.exact = _numbers(ids)
        self.by_text = {_text(value): number for value, number in self.exact.items()}
        self.next = max(self.exact.values(), default=0) + 1

    def __call__(self, value):
        if not _is_id(value):
            return value
        number = self.exact.get(value, self.by_text.get(_text(value)))
        if number is None:
            # It belongs to no entry of the list, and must not come to belong to one.
            number = self.exact[value] = self.next
            self.next += 1
        return number


def whole_ids(data: dict, file: str, problems: Problems) -> tuple[dict, list[str]]:
    """Give a file whole numbers as ids where it has others.

    Args:
        data (dict): The file's content with its three lists; not changed.
        file (str): Its name for messages.
        problems (Problems): Takes what is found.

    Returns:
        tuple[dict, list[str]]: The content, its ids whole numbers, and what was done, a line each.
        What is no id at all, None for instance, stays. Without other ids it is ``data`` itself.
    """
    lists = {
        key: [entry for entry in data[key] if isinstance(entry, dict)]
        for key in data
        if key in ('images', 'annotations', 'categories')
    }
    data, done = dict(data), []
    named_by = dict(images='image_id', categories='category_id', annotations=None)
    for owner, key in named_by.items():
        own = [entry['id'] for entry in lists[owner] if _is_id(entry.get('id'))]
        named = [ann[key] for ann in lists['annotations'] if key and _is_id(ann.get(key))]
        other = next((value for value in own + named if not is_integer(value)), None)
        if other is None:
            continue
        works = _work(own, named) if key else all(_text(v).lstrip('-').isdigit() for v in own)
        spelled = f'id or {key}' if key else 'id'
        problems.add(NOT_WHOLE if works else NOT_FOUND, file, f'{owner}: {spelled} is {other!r}')
        number = _Renumbering(lists[owner])
        lists[owner] = [dict(entry, id=number(entry.get('id'))) for entry in lists[owner]]
        data[owner] = lists[owner]
        if key:
            lists['annotations'] = [
                dict(entry, **{key: number(entry.get(key))}) for entry in lists['annotations']
            ]
            data['annotations'] = lists['annotations']
        done.append(f'wrote whole numbers for the ids of the {owner}')
    return data, done
