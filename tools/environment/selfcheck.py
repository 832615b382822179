"""Imports everything and runs one operator of mmcv: `python selfcheck.py OPS [MODULE ...]`."""

import importlib
import sys

MODULES = (
    'torch',
    'torchvision',
    'cv2',
    'mmcv',
    'mmcv.ops',
    'mmengine',
    'mmdet',
    'mmdet.models',
    'peft',
    'mmadapt',
)
REMEDIES = {
    'libGL': 'OpenCV needs a system library; Debian/Ubuntu: apt-get install libgl1 libglib2.0-0',
    'libgthread': 'OpenCV needs a system library; Debian/Ubuntu: apt-get install libglib2.0-0',
    'torchvision::nms': 'torchvision was made for another build of torch: have pip install both '
    'from the same index, then make clean-env env',
}


def check_nms(device: str) -> None:
    """Of three boxes (x1, y1, x2, y2 in pixels), the second best overlaps the best by 90 %."""
    import torch
    from mmcv.ops import nms

    boxes = torch.tensor(
        [[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 9.0], [20.0, 20.0, 30.0, 30.0]], device=device
    )
    scores = torch.tensor([0.8, 0.9, 0.7], device=device)
    _, kept = nms(boxes, scores, iou_threshold=0.5)
    if kept.tolist() != [1, 2]:
        sys.exit(
            f'mmcv.ops.nms on {device} keeps boxes {kept.tolist()} instead of [1, 2]: '
            'mmcv is miscompiled'
        )


def main(ops: str, modules: list) -> None:
    """Exits with a line that says what does not import, or which operator is wrong."""
    versions = []
    for name in [*MODULES, *modules]:
        try:
            module = importlib.import_module(name)
        except (
            Exception
        ) as error:  # whatever a broken installation raises is to be said in one line
            remedies = [text for key, text in REMEDIES.items() if key in str(error)]
            sys.exit(f'import {name} fails: {type(error).__name__}: {error}. ' + ' '.join(remedies))
        if '.' not in name:
            versions.append(f'{name} {getattr(module, "__version__", "")}')
    check_nms('cpu')
    import torch

    if ops != 'cpu' and torch.cuda.is_available():
        check_nms('cuda')
    print(', '.join(versions) + ': all import, mmcv.ops.nms is right')


if __name__ == '__main__':
    main(sys.argv[1], sys.argv[2:])
