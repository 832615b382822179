"""Transforms that do something else than a config says, which nobody would notice."""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec

from ..extras import remedy
from ..type_names import type_name
from ..values import close_names

# They leave the masks of an image as they were while they change its boxes.
_LOSES_MASKS = {'Mosaic': 'CachedMosaic', 'MixUp': 'CachedMixUp'}


def check_transforms(cfg: Mapping, loops: Iterable[str]) -> Iterator[str]:
    """Find what is wrong with the transforms of a run's data sets.

    Args:
        cfg (dict or Config): A whole config.
        loops (Iterable[str]): Which of 'train', 'val' and 'test' run.

    Yields:
        str: A line each: where, what happens, what to write instead.
    """
    for loop in loops:
        dataset = (cfg.get(f'{loop}_dataloader') or {}).get('dataset')
        steps = [*_steps(dataset, f'{loop}_dataloader.dataset')]
        yield from _lost_masks(steps)
        for place, step in steps:
            if type_name(step['type']) == 'RandomRotFlip' and step.get('rotate_prob', 0.5):
                yield (
                    f'{place}.type={step["type"]!r} rotates label maps as it does images, and so '
                    'makes values between the classes, which are other classes; write '
                    'RandomRotate(prob=0.5, degree=20), or rotate_prob=0'
                )
            if type_name(step['type']) == 'Albu':
                yield from _of_albumentations(place, step.get('transforms') or [], 'MMDetection')
            elif type_name(step['type']) == 'Albumentation':
                yield from _of_albumentations(place, step.get('transforms') or [], 'MMPose')


def _steps(node, place: str) -> Iterator[tuple[str, Mapping]]:
    """Yield all dicts with a type that stand in lists, but those in an albumentations' own list."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if type_name(node.get('type')) not in ('Albu', 'Albumentation'):
                yield from _steps(value, f'{place}.{key}')
    elif isinstance(node, (list, tuple)):
        for index, item in enumerate(node):
            if isinstance(item, Mapping) and item.get('type') is not None:
                yield f'{place}.{index}', item
            yield from _steps(item, f'{place}.{index}')


def _lost_masks(steps: list[tuple[str, Mapping]]) -> Iterator[str]:
    if not any(step.get('with_mask') for _, step in steps):
        return
    for place, step in steps:
        name = type_name(step['type'])
        if name == 'RandomAffine':
            yield (
                f'{place}.type={step["type"]!r} ends the run at the first image with masks, and '
                'the data are loaded with_mask=True; take the step out, or load no masks'
            )
        elif name in _LOSES_MASKS:
            yield (
                f'{place}.type={step["type"]!r} does not carry masks along, and the data are '
                f'loaded with_mask=True: masks would be of other objects than their boxes; write '
                f'{_LOSES_MASKS[name]}, which carries them along'
            )


def _of_albumentations(place: str, transforms: list, who: str) -> Iterator[str]:
    """Yield what the installed albumentations would ignore or does not have."""
    if find_spec('albumentations') is None:
        # The extra has the last version that both libraries know.
        yield (
            f'{place} needs albumentations, which is not installed{remedy("albumentations")}, or '
            'take the step out of the pipeline'
        )
        return
    library = import_module('albumentations')
    version = library.__version__
    if who == 'MMPose' and int(version.partition('.')[0]) > 1:
        yield (
            f'{place}: MMPose does not know albumentations {version}, only versions below 2'
            f'{remedy("albumentations")}'
        )
        return
    for index, each in enumerate(transforms):
        kind = type_name(each.get('type'))
        cls = getattr(library, kind, None)
        where = f'{place}.transforms.{index}'
        if cls is None:
            near = close_names(kind, dir(library))
            yield (
                f'{where}.type={kind!r}: albumentations {version} has no such transform'
                + (f'; nearest: {near[0]!r}' if near else '')
            )
            continue
        known = inspect.signature(cls.__init__).parameters
        if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in known.values()):
            continue
        for key in each:
            if key not in known and key not in ('type', 'transforms'):
                yield (
                    f'{where}: {kind} of albumentations {version} does not take {key}, and would '
                    f'ignore it; it takes {", ".join(list(known)[1:])}'
                )
