"""Batches with one object alone, at which MMPose's RTMO stops: its BatchNorm1d is over objects."""

from collections import Counter
from collections.abc import Iterator

from mmengine.config import Config

from ..errors import UserError
from ..logs import warn
from ..type_names import type_name
from .coco_file import local_file, read_once
from .keypoint_checks import why_unused
from .kinds import datasets_of

# They add objects of other images to an image.
_MIXES = ('Mosaic', 'YOLOXMixUp')


def check_lone_objects(cfg: Config) -> None:
    """Refuse a training of RTMO on one image at a time where images have one object.

    Where a pipeline mixes images it is a warning: objects of others are added, or cut away.

    Args:
        cfg (Config): The whole config.

    Raises:
        UserError: It is one.
    """
    head = (cfg.get('model') or {}).get('head') or {}
    size = (cfg.get('train_dataloader') or {}).get('batch_size', 1)
    if type_name(head.get('type')) != 'RTMOHead' or size > 1:
        return
    outer = cfg.train_dataloader.get('dataset') or {}
    for place, leaf, _ in datasets_of(cfg, 'train', 'mmpose', 'BaseCocoStyleDataset'):
        path = local_file(leaf)
        if path is None:
            continue
        # Objects that are marked or not labeled are no targets, but images of theirs are loaded.
        objects = Counter(
            ann['image_id'] for ann in read_once(path)['annotations'] if why_unused(ann) is None
        )
        read_once.cache_clear()
        alone = sum(count == 1 for count in objects.values())
        if not alone:
            continue
        line = (
            f'train_dataloader.batch_size={size}, and {alone:,} of {len(objects):,} images of '
            f'{place} have one object: RTMO stops at a batch with one object alone; '
            '--cfg-options train_dataloader.batch_size=16'
        )
        if not any(_mixes(each) for each in (leaf, outer, *_switched(cfg))):
            raise UserError(line)
        warn(line)


def _switched(cfg: Config) -> Iterator[dict]:
    """Yield what hooks make of the training data set later."""
    for hook in cfg.get('custom_hooks') or ():
        for key in ('new_train_pipeline', 'switch_pipeline'):
            yield dict(pipeline=hook.get(key))
        yield hook.get('new_train_dataset') or {}


def _mixes(dataset: dict) -> bool:
    """Return whether a data set's pipeline adds objects of other images."""
    return any(
        type_name(step.get('type')) in _MIXES
        for step in dataset.get('pipeline') or ()
        if isinstance(step, dict)
    )
