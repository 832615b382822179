"""Names of what a test draws: images of one name in several folders have drawings of their own."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, wraps
from pathlib import Path
from typing import Any

from ..inference.names import told_apart

# What hooks hand an image to, with the sample that says where it is from.
_DRAWS = ('add_datasample', 'visualize_cls')


def tell_drawings_apart(runner: Any) -> None:
    """Let a test write a drawing for each image, where hooks know the name of its file alone.

    Args:
        runner (Runner): It has not tested yet. Its visualizer is changed.
    """
    names = cache(lambda: names_of_drawings(_images(runner.test_dataloader.dataset)))
    for name in _DRAWS:
        draws = getattr(runner.visualizer, name, None)
        if draws is not None:
            setattr(runner.visualizer, name, _renaming(draws, names))


def names_of_drawings(paths: Iterable[str]) -> dict[str, str]:
    """Return what drawings of images are called.

    Args:
        paths (Iterable[str]): The images.

    Returns:
        dict[str, str]: By path the file's name, with those of folders before it where another image
        has that, too: ``cat_0.jpg``.
    """
    images = sorted({*paths})
    candidates = []
    for number, path in enumerate(images):
        parts = [part for part in Path(path).as_posix().split('/') if part not in ('', '.', '..')]
        longer = ['_'.join(parts[start:]) for start in reversed(range(len(parts)))]
        candidates.append([*longer, f'{number}_{parts[-1]}'])
    return dict(zip(images, told_apart(candidates), strict=True))


def _renaming(draws: Callable, names: Callable[[], Mapping[str, str]]) -> Callable:
    """Wrap a method that draws: for an image's name it is given that of the drawing."""

    @wraps(draws)
    def renamed(*values, data_sample=None, **options):
        path = None if data_sample is None else data_sample.get('img_path')
        if isinstance(path, str) and path in names():
            own, name = Path(path).name, names()[path]
            values = tuple(_called(value, own, name) for value in values)
            options = {key: _called(value, own, name) for key, value in options.items()}
        return draws(*values, data_sample=data_sample, **options)

    return renamed


def _called(value: Any, own: str, name: str) -> Any:
    if not isinstance(value, str) or not value.endswith(own):
        return value
    before = value.removesuffix(own)
    # It is the name itself, MMSegmentation's or a path. MMPose's ends in the number of a box.
    return before + name if before in ('', 'test_') or before.endswith(os.sep) else value


def _images(dataset: Any) -> Iterator[str]:
    for index in range(len(dataset) if hasattr(dataset, 'get_data_info') else 0):
        path = dataset.get_data_info(index).get('img_path')
        if isinstance(path, str):  # there are several of a video
            yield path
