"""Batches with one object alone, at which MMPose's RTMO stops: its BatchNorm1d is over objects."""

from collections import Counter

from mmengine.config import Config

from ..errors import UserError
from ..type_names import type_name
from .coco_file import local_file, read_once
from .kinds import datasets_of


def check_lone_objects(cfg: Config) -> None:
    """Refuse a training of RTMO on one image at a time where images have one object.

    Args:
        cfg (Config): The whole config.

    Raises:
        UserError: It is one.
    """
    head = (cfg.get('model') or {}).get('head') or {}
    size = (cfg.get('train_dataloader') or {}).get('batch_size', 1)
    if type_name(head.get('type')) != 'RTMOHead' or size > 1:
        return
    for place, leaf, _ in datasets_of(cfg, 'train', 'mmpose', 'BaseCocoStyleDataset'):
        path = local_file(leaf)
        if path is None:
            continue
        objects = Counter(ann['image_id'] for ann in read_once(path)['annotations'])
        read_once.cache_clear()
        alone = sum(count == 1 for count in objects.values())
        if alone:
            raise UserError(
                f'train_dataloader.batch_size={size}, and {alone:,} of {len(objects):,} images of '
                f'{place} have one object: RTMO stops at a batch with one object alone; '
                '--cfg-options train_dataloader.batch_size=16'
            )
