"""Stock detectors of every family, small enough for a test, and what they compute on fixed input.

Their architectures are those of MMDetection's configs; only widths, depths of transformers and
numbers of proposals are smaller. In double precision, so that a difference is no rounding.
"""

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

SIZE = 96
_CONFIGS = Path(importlib.util.find_spec('mmdet').origin).parent / '.mim' / 'configs'
# A ResNet-50 of 16 channels, and what its stages have.
_NARROW, _WIDTHS = dict(base_channels=16), [64, 128, 256, 512]
# Few boxes, so that none has another's score but for rounding.
_FEW = dict(test_cfg=dict(max_per_img=10))
_RCNN = dict(
    test_cfg=dict(rpn=dict(nms_pre=40, max_per_img=20), rcnn=dict(score_thr=0.0, max_per_img=10)),
    train_cfg=dict(rpn_proposal=dict(nms_pre=40, max_per_img=20)),
)
_DENSE_HEAD = dict(feat_channels=64, stacked_convs=2)
_BOX_HEAD = dict(fc_out_channels=64)
_MASK_HEAD = dict(conv_out_channels=64, num_convs=2)


@dataclass
class Detector:
    """A stock detector.

    Attributes:
        config (str): Its config.
        changes (dict): What is changed of ``model``.
        masks (bool): Whether it learns masks.
    """

    config: str
    changes: dict = field(default_factory=dict)
    masks: bool = False

    def build(self) -> nn.Module:
        """Return the model, with random weights none of which is a constant, in eval mode."""
        init_default_scope('mmdet')
        cfg = Config.fromfile(_CONFIGS / self.config)
        cfg.merge_from_dict(dict(model=self.changes))
        torch.manual_seed(0)
        model = MODELS.build(cfg.model)
        for name, parameter in model.named_parameters():
            _randomize(name, parameter.data)
        _calibrate(model)
        return model.eval()

    def loss(self, model: nn.Module) -> Tensor:
        """Return the sum of the model's own losses; what it draws at random is drawn alike."""
        torch.manual_seed(5)
        return model.parse_losses(model.loss(*inputs(self.masks)))[0]

    def predictions(self, model: nn.Module) -> list[InstanceData]:
        """Return what the model finds in each image."""
        with torch.no_grad():
            return [s.pred_instances for s in model.predict(*inputs(), rescale=False)]


def _randomize(name: str, tensor: Tensor) -> None:
    if name.endswith('level_embed'):
        tensor.zero_()  # Deformable DETR leaves in it what was in memory
    # Offsets and last layers start at zero.
    spread = tensor.std().item() if tensor.numel() > 1 else 0.0
    tensor += 0.1 * (spread or 0.2) * torch.randn_like(tensor)


def _calibrate(model: nn.Module) -> None:
    """Give BatchNorm the statistics of random weights, or nothing reaches the deeper layers."""
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.train().momentum = 1.0
    with torch.no_grad():
        raw_outputs(model)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


_SMALL = dict(num_layers=2, layer_cfg=dict(ffn_cfg=dict(feedforward_channels=64)))
_DETR = dict(
    encoder=_SMALL, decoder=_SMALL, num_queries=12, test_cfg=dict(max_per_img=10), backbone=_NARROW
)
_FPN = dict(backbone=_NARROW, neck=dict(in_channels=_WIDTHS))

DETECTORS = {
    'RTMDet': Detector('rtmdet/rtmdet_tiny_8xb32-300e_coco.py', _FEW),
    'RTMDet-Ins': Detector('rtmdet/rtmdet-ins_tiny_8xb32-300e_coco.py', _FEW, masks=True),
    'YOLOX': Detector('yolox/yolox_tiny_8xb8-300e_coco.py', _FEW),
    'RetinaNet': Detector(
        'retinanet/retinanet_r50_fpn_1x_coco.py', dict(_FPN, **_FEW, bbox_head=_DENSE_HEAD)
    ),
    'FCOS': Detector(
        'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py', dict(_FPN, **_FEW, bbox_head=_DENSE_HEAD)
    ),
    'Faster R-CNN': Detector(
        'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
        dict(_FPN, **_RCNN, roi_head=dict(bbox_head=_BOX_HEAD)),
    ),
    'Mask R-CNN': Detector(
        'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
        dict(_FPN, **_RCNN, roi_head=dict(bbox_head=_BOX_HEAD, mask_head=_MASK_HEAD)),
        masks=True,
    ),
    'Mask R-CNN, Swin': Detector(
        'swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py',
        dict(
            # Stochastic depth would leave out some layers of some steps.
            **_RCNN,
            backbone=dict(drop_path_rate=0.0, depths=[2, 2, 2, 2]),
            roi_head=dict(bbox_head=_BOX_HEAD, mask_head=_MASK_HEAD),
        ),
        masks=True,
    ),
    'Cascade R-CNN': Detector(
        'cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py',
        dict(_FPN, **_RCNN, roi_head=dict(bbox_head=dict.fromkeys('012', _BOX_HEAD))),
    ),
    'deformable convolutions': Detector(
        'dcn/faster-rcnn_r50-dconv-c3-c5_fpn_1x_coco.py',
        dict(_FPN, **_RCNN, roi_head=dict(bbox_head=_BOX_HEAD)),
    ),
    'weight standardization': Detector(
        'gn+ws/faster-rcnn_r50_fpn_gn-ws-all_1x_coco.py',
        dict(
            backbone=dict(_NARROW, norm_cfg=dict(num_groups=8)),
            neck=dict(in_channels=_WIDTHS),
            **_RCNN,
            roi_head=dict(bbox_head=dict(conv_out_channels=32, fc_out_channels=64)),
        ),
    ),
    'DETR': Detector(
        'detr/detr_r50_8xb2-150e_coco.py', dict(_DETR, neck=dict(in_channels=_WIDTHS[3:]))
    ),
    'Deformable DETR': Detector(
        'deformable_detr/deformable-detr_r50_16xb2-50e_coco.py',
        dict(_DETR, neck=dict(in_channels=_WIDTHS[1:])),
    ),
    'Deformable DETR, refined in two stages': Detector(
        'deformable_detr/deformable-detr-refine-twostage_r50_16xb2-50e_coco.py',
        dict(_DETR, neck=dict(in_channels=_WIDTHS[1:])),
    ),
    'DINO': Detector(
        'dino/dino-4scale_r50_8xb2-12e_coco.py',
        dict(
            _DETR, neck=dict(in_channels=_WIDTHS[1:]), dn_cfg=dict(group_cfg=dict(num_dn_queries=6))
        ),
    ),
    'Mask2Former': Detector(
        'mask2former/mask2former_r50_8xb2-lsj-50e_coco.py',
        dict(
            backbone=_NARROW,
            panoptic_head=dict(
                in_channels=_WIDTHS,
                num_queries=12,
                pixel_decoder=dict(encoder=_SMALL),
                transformer_decoder=_SMALL,
            ),
            train_cfg=dict(num_points=200),
            test_cfg=dict(max_per_image=10),
        ),
        masks=True,
    ),
}


def inputs(
    masks: bool = False, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, list[DetDataSample]]:
    """Return two images, one of them padded, and their boxes, with or without masks."""
    generator = torch.Generator().manual_seed(4)
    images = torch.randn(2, 3, SIZE, SIZE, generator=generator)
    images[1, :, :, 64:] = 0
    boxes = ([[2, 4, 60, 86], [10, 20, 72, 55], [50, 8, 64, 22]], [[1, 2, 60, 90], [5, 5, 30, 27]])
    samples = []
    for n, width in enumerate((SIZE, 64)):
        sample = DetDataSample(
            metainfo=dict(
                img_id=n,
                img_shape=(SIZE, width),
                ori_shape=(SIZE, width),
                scale_factor=(1.0, 1.0),
                pad_shape=(SIZE, SIZE),
                batch_input_shape=(SIZE, SIZE),
            )
        )
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor(boxes[n], dtype=dtype), labels=torch.arange(len(boxes[n])) + 7 * n
        )
        sample.ignored_instances = InstanceData(
            bboxes=torch.zeros(0, 4, dtype=dtype), labels=torch.zeros(0, dtype=torch.long)
        )
        if masks:
            sample.gt_instances.masks = _masks(boxes[n])
            sample.ignored_instances.masks = _masks([])
        samples.append(sample)
    return images.to(dtype), samples


def _masks(boxes: list) -> BitmapMasks:
    masks = np.zeros((len(boxes), SIZE, SIZE), dtype=np.uint8)
    for mask, (left, top, right, bottom) in zip(masks, boxes, strict=True):
        mask[top:bottom, left:right] = 1
    return BitmapMasks(masks, SIZE, SIZE)


def raw_outputs(model: nn.Module) -> list[Tensor]:
    """Return what a detector computes before boxes are selected, in the mode that it is in."""
    dtype = next(model.parameters()).dtype
    images, samples = inputs(dtype=dtype)
    torch.set_default_dtype(dtype)  # of the queries that DINO makes of boxes
    try:
        maps = model.extract_feat(images)
        if hasattr(model, 'forward_transformer'):
            found = model.forward_transformer(maps, samples)
            last = {key: found.pop(key) for key in ('hidden_states', 'references') if key in found}
            return _tensors([model.bbox_head(**last), found])
        if hasattr(model, 'panoptic_head'):
            return _tensors(model.panoptic_head(maps, samples))
        return (
            _of_regions(model, maps)
            if hasattr(model, 'roi_head')
            else _tensors(model.bbox_head(maps))
        )
    finally:
        torch.set_default_dtype(torch.float32)


def _of_regions(model: nn.Module, maps: tuple[Tensor]) -> list[Tensor]:
    """Return what both stages of a detector compute, the second one in two fixed regions."""
    dtype, head = maps[0].dtype, model.roi_head
    regions = torch.tensor([[0, 4, 4, 50, 90], [1, 10, 2, 60, 30]], dtype=dtype)
    result = [*maps, *_tensors(model.rpn_head(maps))]
    for part in ('bbox', 'mask'):
        if not getattr(head, f'with_{part}'):
            continue
        heads, extractors = (getattr(head, f'{part}_{kind}') for kind in ('head', 'roi_extractor'))
        pairs = (
            zip(heads, extractors, strict=True)
            if isinstance(heads, nn.ModuleList)
            else [(heads, extractors)]
        )
        for stage, extractor in pairs:
            result += _tensors(stage(extractor(maps[: extractor.num_inputs], regions)))
    return result


def _tensors(output) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, dict):
        output = list(output.values())
    return (
        [t for item in output for t in _tensors(item)] if isinstance(output, (list, tuple)) else []
    )
