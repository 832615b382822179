"""What stock MMDetection predicts from a checkpoint, in a process in which there is no mmadapt.

python projects/detector_from_onnx/stock.py CONFIG CHECKPOINT OUT IMAGE ...
"""

import sys

sys.modules['mmadapt'] = None  # importing it raises an ImportError

import torch  # noqa: E402
from mmdet.apis import inference_detector  # noqa: E402
from mmdet.registry import MODELS  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.registry import init_default_scope  # noqa: E402


def main(config: str, checkpoint: str, out: str, *images: str) -> None:
    """Loads strictly and writes boxes, scores and labels of each image."""
    init_default_scope('mmdet')
    cfg = Config.fromfile(config)
    saved = torch.load(checkpoint, weights_only=True, map_location='cpu')
    cfg.model.bbox_head.num_classes = len(saved['meta']['dataset_meta']['classes'])
    model = MODELS.build(cfg.model)
    model.load_state_dict(saved['state_dict'], strict=True)
    model.cfg = cfg
    found = [sample.pred_instances for sample in inference_detector(model.eval(), list(images))]
    torch.save([dict(p.items()) for p in found], out)


if __name__ == '__main__':
    main(*sys.argv[1:])
