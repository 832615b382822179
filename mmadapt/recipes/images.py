"""Random images of one size with boxes, in the place of a config's data set."""

import copy
from collections.abc import Iterator

from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import DATASETS
from torch.utils.data import Dataset

from ..errors import UserError
from ..files.base_weights import is_pretrained

_NUM_BOXES = 8


@DATASETS.register_module(force=True)
class RandomImages(Dataset):
    """The same few random images, over and over.

    Args:
        size (tuple[int, int]): Their height and width in pixels.
        count (int): How many different ones.
        masks (bool): Whether boxes have masks. Defaults to False.
        semantic (bool): Whether there is a semantic map. Defaults to False.
    """

    def __init__(
        self, size: tuple[int, int], count: int, masks: bool = False, semantic: bool = False
    ) -> None:
        from mmdet.testing import demo_mm_inputs

        data = demo_mm_inputs(
            count,
            (3, *size),
            num_items=[_NUM_BOXES] * count,
            num_classes=2,
            with_mask=masks,
            with_semantic=semantic,
        )
        for sample in data['data_samples']:
            sample.gt_instances.labels.zero_()  # which every model has
        self._items = list(zip(data['inputs'], data['data_samples'], strict=True))

    def __len__(self) -> int:
        return 10_000

    def __getitem__(self, index: int) -> dict:
        inputs, sample = self._items[index % len(self._items)]
        return dict(inputs=inputs, data_samples=copy.deepcopy(sample))


def use_images(cfg: Config, size: tuple[int, int], batch: int) -> None:
    """Let a config train on random images.

    Args:
        cfg (Config): The config; changed in place.
        size (tuple[int, int]): Height and width in pixels.
        batch (int): Number of images of a process.

    Raises:
        UserError: It is no config of MMDetection.
    """
    if cfg.get('default_scope') != 'mmdet':
        raise UserError(
            'random images with boxes are made for configs of MMDetection, whose '
            f"default_scope is 'mmdet'; this one has {cfg.get('default_scope')!r}"
        )
    loaded = list(_annotations(cfg.get('train_dataloader')))
    cfg.train_dataloader = dict(
        batch_size=batch,
        num_workers=0,
        sampler=dict(type='InfiniteSampler', shuffle=False),
        dataset=dict(
            type='RandomImages',
            size=tuple(size),
            count=batch,
            masks=any(node.get('with_mask') for node in loaded),
            semantic=any(node.get('with_seg') for node in loaded),
        ),
    )
    # These would change the size.
    (cfg.model.get('data_preprocessor') or {}).pop('batch_augments', None)


def drop_downloads(node) -> None:
    """Drop what would download weights, which only take a shape here.

    Args:
        node (dict or list): A config of a model; changed in place, at any depth.
    """
    if isinstance(node, dict):
        inits = node.get('init_cfg') or []
        inits = [inits] if isinstance(inits, dict) else inits
        if any(map(is_pretrained, inits)):
            node['init_cfg'] = [init for init in inits if not is_pretrained(init)] or None
    if isinstance(node, (dict, list, tuple)):
        for item in node.values() if isinstance(node, dict) else node:
            drop_downloads(item)


def hint(size: tuple[int, int], error: Exception) -> str:
    """Return what to do about an error in a model whose feature maps may not fit each other.

    Args:
        size (tuple[int, int]): Height and width of the images, as the model gets them.
        error (Exception): What it raised.
    """
    if not isinstance(error, RuntimeError) or not any(side % 32 for side in size):
        return ''
    height, width = (-(-side // 32) * 32 for side in size)
    return (
        '; many models take multiples of 32 only, and the data preprocessor of this one does '
        f'not pad {size[0]} x {size[1]} px: try --size {height} {width}'
    )


def batch_for(cfg: Config, model: BaseModel) -> dict:
    """Return a preprocessed batch, as :func:`use_images` has put it into a config."""
    loader = cfg.train_dataloader
    items = DATASETS.build(loader.dataset)
    samples = [items[index] for index in range(loader.batch_size)]
    return model.data_preprocessor(
        {key: [sample[key] for sample in samples] for key in ('inputs', 'data_samples')}, True
    )


def _annotations(node) -> Iterator[dict]:
    if isinstance(node, dict):
        if str(node.get('type', '')).endswith(('LoadAnnotations', 'LoadPanopticAnnotations')):
            yield node
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for item in node:
            yield from _annotations(item)
