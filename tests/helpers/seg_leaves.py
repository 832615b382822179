"""The leaves of semantic segmentation: their tiny data, predictions and numbers."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

VARIABLES = dict(max_epochs=2)
METRICS = ('mIoU', 'aAcc')
_SIDE = 64


def write_data(root: Path) -> None:
    """Write images and label maps below ``data/face_seg``: three classes, and a frame of 255."""
    for seed, split in enumerate(('train', 'validation')):
        random = np.random.default_rng(seed)
        images, masks = (root / 'data' / 'face_seg' / kind / split for kind in ('images', 'masks'))
        for folder in (images, masks):
            folder.mkdir(parents=True)
        for index in range(2):
            labels = np.zeros((_SIDE, _SIDE), dtype=np.uint8)
            labels[10:50, 12:52], labels[10:24, 12:52] = 1, 2
            labels[:2] = 255
            image = random.integers(0, 90, (_SIDE, _SIDE, 3), dtype=np.uint8)
            for label in (1, 2):
                image[labels == label] = random.integers(100, 255, 3)
            Image.fromarray(image).save(images / f'{index}.jpg')
            Image.fromarray(labels).save(masks / f'{index}.png')


@torch.no_grad()
def predict(model, side: int) -> dict[str, torch.Tensor]:
    """Return the logits of two images, of the head and of an auxiliary head where there is one."""
    from mmseg.structures import SegDataSample

    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(4))
    shapes = dict.fromkeys(('img_shape', 'ori_shape', 'pad_shape'), (side, side))
    samples = [SegDataSample(metainfo=dict(shapes, padding_size=[0] * 4)) for _ in range(2)]
    # SegNeXt draws the bases of its matrix decomposition.
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found = model.predict(images, samples)
    logits = {f'logits{index}': sample.seg_logits.data for index, sample in enumerate(found)}
    if model.with_auxiliary_head:
        logits['auxiliary'] = model.auxiliary_head(model.extract_feat(images))
    return {key: value.clone() for key, value in logits.items()}


def assert_same(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    """Compare what two models find: logits to 1e-3."""
    assert found.keys() == wanted.keys()
    assert len(wanted['logits0']) == 3
    for key, value in wanted.items():
        torch.testing.assert_close(found[key], value, rtol=1e-3, atol=1e-3)
