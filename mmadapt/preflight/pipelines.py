"""Transforms that do something else than a config says, which nobody would notice."""

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec

from ..extras import remedy
from ..type_names import type_name
from ..values import close_names

# They leave the masks of an image as they were while they change its boxes.
_LOSES_MASKS = {'Mosaic': 'CachedMosaic', 'MixUp': 'CachedMixUp'}
_ALBUMENTATIONS = {'Albu': 'MMDetection', 'Albumentation': 'MMPose'}
# Under which keys hooks have the pipeline of the run's end, and the data set that is to have it.
_SWITCHES = {'switch_pipeline': '', 'new_train_pipeline': 'new_train_dataset'}

# Where a transform stands, and its config.
Step = tuple[str, Mapping]


def check_transforms(cfg: Mapping, loops: Iterable[str]) -> Iterator[str]:
    """Find what is wrong with the transforms of a run's data sets.

    Args:
        cfg (dict or Config): A whole config.
        loops (Iterable[str]): Which of 'train', 'val' and 'test' run.

    Yields:
        str: A line each: where, what happens, what to write instead.
    """
    found: dict[str, None] = {}  # what several data sets go through is said once
    for loop in loops:
        dataset = (cfg.get(f'{loop}_dataloader') or {}).get('dataset')
        chains = [*_chains(dataset, f'{loop}_dataloader.dataset')]
        if loop == 'train':
            chains += _switched(cfg, dataset)
        for steps in chains:
            for line in (*_lost_masks(steps), *_of_one(steps)):
                found[line] = None
    yield from found


def _chains(
    node, place: str, own: list[Step] | None = None, after: Sequence[Step] = ()
) -> Iterator[list[Step]]:
    """Yield for each data set in one the transforms that its images go through.

    Args:
        node (dict): The config of a data set, which may be around others.
        place (str): Where it stands.
        own (list[Step], optional): What it has in the place of its pipeline. Defaults to that.
        after (Sequence[Step]): What the data sets around it have.
    """
    if not isinstance(node, Mapping):
        return
    if own is None:
        own = [*_steps(node.get('pipeline'), f'{place}.pipeline')]
    inner = {f'{place}.dataset': node.get('dataset')}
    several = node.get('datasets')
    for index, each in enumerate(several if isinstance(several, (list, tuple)) else ()):
        inner[f'{place}.datasets.{index}'] = each
    inner = {where: each for where, each in inner.items() if isinstance(each, Mapping)}
    for where, each in inner.items():
        yield from _chains(each, where, after=[*own, *after])
    if not inner:
        yield [*own, *after]


def _switched(cfg: Mapping, dataset) -> Iterator[list[Step]]:
    """Yield what images go through once a hook has given their data set another pipeline."""
    for index, hook in enumerate(cfg.get('custom_hooks') or []):
        for key, other in _SWITCHES.items() if isinstance(hook, Mapping) else ():
            pipeline, replaced = hook.get(key), hook.get(other)
            if pipeline or replaced:
                place = f'custom_hooks.{index}'
                own = [*_steps(pipeline, f'{place}.{key}')] if pipeline else None
                where = f'{place}.{other}' if replaced else 'train_dataloader.dataset'
                yield from _chains(replaced or dataset, where, own)


def _steps(node, place: str) -> Iterator[Step]:
    """Yield all dicts with a type, in others too, but those in an albumentations' own list."""
    if isinstance(node, Mapping):
        if node.get('type') is not None:
            yield place, node
        if type_name(node.get('type')) not in _ALBUMENTATIONS:
            for key, value in node.items():
                yield from _steps(value, f'{place}.{key}')
    elif isinstance(node, (list, tuple)):
        for index, item in enumerate(node):
            yield from _steps(item, f'{place}.{index}')


def _of_one(steps: list[Step]) -> Iterator[str]:
    """Yield what is wrong with a transform whatever the others are."""
    for place, step in steps:
        kind = type_name(step['type'])
        if kind == 'RandomRotFlip' and step.get('rotate_prob', 0.5):
            yield (
                f'{place}.type={step["type"]!r} rotates label maps as it does images, and so '
                'makes values between the classes, which are other classes; write '
                'RandomRotate(prob=0.5, degree=20), or rotate_prob=0'
            )
        if kind in _ALBUMENTATIONS:
            yield from _of_albumentations(
                place, step.get('transforms') or [], _ALBUMENTATIONS[kind]
            )


def _lost_masks(steps: list[Step]) -> Iterator[str]:
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
