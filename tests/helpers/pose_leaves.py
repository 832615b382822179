"""The leaves of pose estimation: their tiny data, predictions and numbers."""

import json
from pathlib import Path

import numpy as np
import torch
from mmengine.structures import InstanceData
from PIL import Image

VARIABLES = dict(max_epochs=2)
METRICS = ('coco/AP',)
_SIDE = 96
# Two faces an image, for a one-stage model cannot train on one: width, height, left, top.
_BOXES = ((60, 64, 2, 10), (30, 30, 64, 50))
# Where in a face its points are, as parts of its width and height.
_POINTS = ((0.7, 0.35), (0.3, 0.35), (0.5, 0.55), (0.65, 0.75), (0.35, 0.75))


def write_data(root: Path) -> None:
    """Write faces with five points below ``data/face_pose``."""
    for seed, split in enumerate(('train', 'validation')):
        random = np.random.default_rng(seed)
        folder = root / 'data' / 'face_pose' / split
        folder.mkdir(parents=True)
        images, annotations = [], []
        for index in range(2):
            image = random.integers(0, 90, (_SIDE, _SIDE, 3), dtype=np.uint8)
            for w, h, x, y in _BOXES:
                image[y : y + h, x : x + w] = random.integers(100, 255, 3)
                annotations.append(_face(len(annotations) + 1, index, (x, y, w, h)))
            Image.fromarray(image).save(folder / f'{index}.png')
            images.append(dict(id=index, file_name=f'{index}.png', width=_SIDE, height=_SIDE))
        content = dict(images=images, annotations=annotations, categories=[dict(id=1, name='face')])
        (folder / 'annotations_coco.json').write_text(json.dumps(content))


def write_three(root: Path) -> Path:
    """Write the same faces with three points that their file names; returns their folder."""
    write_data(root)
    folder = root / 'data' / 'face_pose'
    for path in folder.glob('*/*.json'):
        content = json.loads(path.read_text())
        for face in content['annotations']:
            face.update(keypoints=face['keypoints'][:9], num_keypoints=3)
        content['categories'][0].update(keypoints=['left_eye', 'right_eye', 'nose'])
        path.write_text(json.dumps(content))
    return folder


def _face(number: int, image: int, box: tuple) -> dict:
    x, y, w, h = box
    points = [[x + right * w, y + down * h, 2] for right, down in _POINTS]
    return dict(
        id=number,
        image_id=image,
        category_id=1,
        bbox=[x, y, w, h],
        area=0.53 * w * h,
        iscrowd=0,
        num_keypoints=len(points),
        keypoints=sum(points, []),
    )


@torch.no_grad()
def predict(model, side: int) -> dict[str, torch.Tensor]:
    """Return the points and scores that a model finds in two images, and the maps they come from.

    The largest value of a map may be another one by rounding: the maps are what is equal.
    """
    from mmpose.structures import PoseDataSample

    # RTMO takes pixels as they are, which its norms are to be calibrated for.
    pixels = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(4)) * 255
    images = (pixels - model.data_preprocessor.mean) / model.data_preprocessor.std
    points = getattr(model.head, 'num_keypoints', None) or model.head.out_channels
    whole = np.array([[side / 2, side / 2]], dtype=np.float32)
    samples = []
    for index in range(2):
        sample = PoseDataSample(
            metainfo=dict(
                img_id=index,
                img_shape=(side, side),
                input_size=(side, side),
                input_center=whole[0],
                input_scale=2 * whole[0],
                flip_indices=list(range(points)),
            )
        )
        sample.gt_instances = InstanceData(
            bboxes=np.array([[0, 0, side, side]], dtype=np.float32),
            bbox_centers=whole,
            bbox_scales=2 * whole,
            bbox_scores=np.ones(1, dtype=np.float32),
        )
        samples.append(sample)
    maps = model.head(model.extract_feat(images))
    found = {f'map{index}': value.clone() for index, value in enumerate(_tensors(maps))}
    if hasattr(model.head, 'dcc'):
        # In a box of its own choice a random model puts points anywhere: here it is the image.
        vectors = maps[-1][0].flatten(2).transpose(1, 2)[0, :4]
        boxes, grid = torch.tensor([[side / 2, side / 2, side, side]]), torch.zeros(1, 2)
        points = model.head.dcc.forward_test(vectors, boxes.expand(4, 4), grid.expand(4, 2))
        return {**found, 'keypoints0': points}
    for index, sample in enumerate(model.predict(images, samples)):
        for key in ('keypoints', 'keypoint_scores'):
            found[f'{key}{index}'] = torch.as_tensor(sample.pred_instances[key]).clone()
    return found


def _tensors(maps) -> list[torch.Tensor]:
    if isinstance(maps, torch.Tensor):
        return [maps]
    return [tensor for item in maps or () for tensor in _tensors(item)]


def assert_same(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    """Compare what two models find: maps to 1e-4, points to a hundredth of a pixel."""
    assert found.keys() == wanted.keys()
    assert len(wanted['keypoints0']) > 0
    for key, value in wanted.items():
        close = 1e-2 if key.startswith('keypoints') else 1e-4
        torch.testing.assert_close(found[key], value, rtol=1e-4, atol=close)
