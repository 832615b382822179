"""Ids that are no whole numbers: what text and float ids of a COCO file stand for.

MMDetection looks ids up as they are: images whose ids are text train and are evaluated, an
annotation of image "1" beside an image 1 belongs to no image.
"""

from collections.abc import Iterable

from .problems import Kind, Problems

TEXT_IMAGE_IDS = Kind('note', 'image ids that are text', 'MMDetection takes them, other programs '
                      'may not; --fix numbers the images', True)
NOT_WHOLE = Kind('error', 'ids that are no whole numbers',
                 'an id that is text in one place and a number in another is found nowhere; --fix '
                 'writes whole numbers', True)


def _is_whole(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_id(value) -> bool:
    return _is_whole(value) or (isinstance(value, str) and bool(value)) or (
        isinstance(value, float) and value.is_integer())


def _text(value) -> str:
    """str: The same for 7, 7.0, '7' and '7.0'."""
    try:
        return str(int(float(value)))
    except (ValueError, OverflowError):
        return str(value)


def _numbers(ids: Iterable) -> dict:
    """dict: A whole number for each id: its own where all are numbers, else its place from 1."""
    ids = list(dict.fromkeys(ids))
    texts = [_text(value) for value in ids]
    if len(set(texts)) == len(ids) and all(text.lstrip('-').isdigit() for text in texts):
        return {value: int(text) for value, text in zip(ids, texts, strict=True)}
    return {value: number for number, value in enumerate(ids, start=1)}


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
    lists = {key: [entry for entry in data[key] if isinstance(entry, dict)] for key in data
             if key in ('images', 'annotations', 'categories')}
    data, done = dict(data), []
    named_by = dict(images='image_id', categories='category_id', annotations=None)
    for owner, key in named_by.items():
        own = [entry.get('id') for entry in lists[owner]]
        named = [entry.get(key) for entry in lists['annotations']] if key else []
        if not any(_is_id(value) and not _is_whole(value) for value in own + named):
            continue
        kinds = {type(value) for value in own + named if _is_id(value)}
        other = next(value for value in own + named if _is_id(value) and not _is_whole(value))
        if owner == 'images' and kinds == {str}:
            problems.add(TEXT_IMAGE_IDS, file, f'{other!r}')
        else:
            spelt = f'id or {key}' if key else 'id'
            problems.add(NOT_WHOLE, file, f'{owner}: {spelt} is {other!r}')
        number = _Renumbering(lists[owner])
        lists[owner] = [dict(entry, id=number(entry.get('id'))) for entry in lists[owner]]
        data[owner] = lists[owner]
        if key:
            lists['annotations'] = [dict(entry, **{key: number(entry.get(key))})
                                    for entry in lists['annotations']]
            data['annotations'] = lists['annotations']
        done.append(f'wrote whole numbers for the ids of the {owner}')
    return data, done
