"""The leaves of detection and instance segmentation: their tiny data, predictions and numbers."""

import json
from pathlib import Path

import numpy as np
import torch
from mmdet.structures import DetDataSample
from PIL import Image

CLASSES = ('faces', 'face')
VARIABLES = dict(max_epochs=2)
METRICS = ('coco/bbox_mAP',)
# A box for every level of a pyramid: width and height, the left upper corner, in pixels.
_BOXES = ((84, 76, 4, 10), (40, 44, 30, 20), (22, 18, 10, 70), (70, 40, 20, 50))
_SIDE = 96


def write_data(root: Path) -> None:
    """Write faces below ``data/face_det`` and ``data/face_ins``, with their masks, and ``bert``."""
    write_bert(root / 'bert')
    for name in ('face_det', 'face_ins'):
        for seed, split in enumerate(('train', 'validation')):
            _write_split(root / 'data' / name / split, np.random.default_rng(seed))


def _write_split(folder: Path, random: np.random.Generator) -> None:
    folder.mkdir(parents=True)
    images, annotations = [], []
    for index in range(2):
        image = random.integers(0, 90, (_SIDE, _SIDE, 3), dtype=np.uint8)
        for w, h, x, y in _BOXES:
            image[y : y + h, x : x + w] = random.integers(100, 255, 3)
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=index,
                    category_id=1 + len(annotations) % 2,
                    bbox=[x, y, w, h],
                    area=w * h,
                    iscrowd=0,
                    segmentation=[[x, y, x + w, y, x + w, y + h, x, y + h]],
                )
            )
        Image.fromarray(image).save(folder / f'{index}.png')
        images.append(dict(id=index, file_name=f'{index}.png', width=_SIDE, height=_SIDE))
    categories = [dict(id=i, name=name) for i, name in enumerate(CLASSES, start=1)]
    content = dict(images=images, annotations=annotations, categories=categories)
    (folder / 'annotations_coco.json').write_text(json.dumps(content))


def write_bert(folder: Path) -> None:
    """Write a tiny BERT of random weights that knows the words of the classes."""
    import transformers

    folder.mkdir()
    words = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', '.', '?', 'face', 'faces']
    (folder / 'vocab.txt').write_text('\n'.join(words))
    transformers.BertTokenizer(str(folder / 'vocab.txt')).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
    )
    transformers.BertModel(config).save_pretrained(folder)


@torch.no_grad()
def predict(model, side: int) -> dict[str, torch.Tensor]:
    """Return the boxes, scores, labels and masks that a detector finds in two images."""
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(4))
    samples = []
    for index in range(2):
        shapes = dict.fromkeys(
            ('img_shape', 'ori_shape', 'pad_shape', 'batch_input_shape'), (side, side)
        )
        samples.append(DetDataSample(metainfo=dict(img_id=index, scale_factor=(1, 1), **shapes)))
        if hasattr(model, 'language_model'):
            samples[-1].set_metainfo(dict(text=CLASSES, custom_entities=True))
    found = model.predict(images, samples, rescale=False)
    return {
        f'{key}{index}': value.clone()
        for index, sample in enumerate(found)
        for key, value in sample.pred_instances.items()
        if key in ('bboxes', 'scores', 'labels', 'masks')
    }


def assert_same(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    """Compare what two models find: boxes to a hundredth of a pixel, scores to 1e-4."""
    assert found.keys() == wanted.keys()
    assert len(wanted['labels0']) > 0
    for key, value in wanted.items():
        if key.startswith('masks'):
            assert (found[key] != value).float().mean() < 1e-3
        else:
            close = 1e-2 if key.startswith('bboxes') else 1e-4
            torch.testing.assert_close(found[key], value, rtol=0, atol=close)
