"""The leaves of image classification: their tiny data, predictions and numbers."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

CLASSES = ('glasses', 'plain')
# A new layer of zeros, as ViT's, lets a gradient pass when it has moved: adapters begin later.
VARIABLES = dict(max_epochs=3)
METRICS = ('accuracy/top1',)
_SIDE = 64


def write_data(root: Path) -> None:
    """Write a folder of images a class below ``data/face_cls``, one image in each."""
    for seed, split in enumerate(('train', 'validation')):
        random = np.random.default_rng(seed)
        for name in CLASSES:
            folder = root / 'data' / 'face_cls' / split / name
            folder.mkdir(parents=True)
            image = random.integers(0, 255, (_SIDE, _SIDE, 3), dtype=np.uint8)
            Image.fromarray(image).save(folder / '0.jpg')


@torch.no_grad()
def predict(model, side: int) -> dict[str, torch.Tensor]:
    """Return the logits of two images."""
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(4))
    return dict(logits=model(images, mode='tensor').clone())


def assert_same(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    """Compare what two models find: logits to 1e-3."""
    assert wanted['logits'].shape == (2, len(CLASSES))
    torch.testing.assert_close(found['logits'], wanted['logits'], rtol=1e-3, atol=1e-3)
