"""The models that are measured, each with a batch: stock configs, random weights, random boxes."""

from dataclasses import dataclass
from difflib import get_close_matches
from importlib.util import find_spec

import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.model import revert_sync_batchnorm
from mmengine.runner import set_random_seed
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_leaves, tree_map_only

from mmadapt import UserError
from mmadapt.config_model import build_model
from mmadapt.recipes.images import drop_downloads

NUM_CLASSES, NUM_BOXES, SEED = 2, 8, 0


@dataclass(frozen=True)
class Spec:
    """A model.

    Args:
        config (str): Its stock config, as `package::path`.
        min_size (int): The smallest images that it takes, side in pixels.
        masks (bool): Whether its loss needs masks.
    """

    config: str
    min_size: int = 64
    masks: bool = False


SPECS = {
    'rtmdet-tiny': Spec('mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py'),
    'rtmdet-s': Spec('mmdet::rtmdet/rtmdet_s_8xb32-300e_coco.py'),
    'faster-rcnn-r50': Spec('mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'),
    'mask-rcnn-swin-t': Spec('mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py', masks=True),
    # It chooses 900 queries among the pixels of its feature maps.
    'dino-r50': Spec('mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py', min_size=224),
    'vit-s': Spec('mmpretrain::deit/deit-small_4xb256_in1k.py'),
}


def find_spec_of(name: str, size: int) -> Spec:
    """Return the model of a name.

    Raises:
        UserError: There is none, its package is not installed, or the size does not suit it.
    """
    if name not in SPECS:
        near = get_close_matches(name, SPECS, n=1, cutoff=0.0)
        raise UserError(f'--models: {name!r} is unknown; nearest: {near[0]!r}, all: {list(SPECS)}')
    package = SPECS[name].config.split('::')[0]
    if find_spec(package) is None:
        raise UserError(f'--models: {name} needs {package}, which is not installed')
    if size % 32 or size < SPECS[name].min_size:
        raise UserError(
            f'--size {size}: {name} takes multiples of 32 from {SPECS[name].min_size} on'
        )
    return SPECS[name]


class Case:
    """A stock model, a batch for it, and what is computed with them.

    Args:
        name (str): A key of :data:`SPECS`.
        size (int): Side of the square images in pixels, a multiple of 32.
        batch (int): Number of images.
        device (torch.device): Where everything is.

    Attributes:
        model (nn.Module): The stock model, which stays as it is.

    Raises:
        UserError: The model is unknown or not installed, or the size does not suit it.
    """

    def __init__(self, name: str, size: int, batch: int, device: torch.device) -> None:
        spec = find_spec_of(name, size)
        self.name, self.size, self.batch, self.device = name, size, batch, device
        set_random_seed(SEED)
        cfg = get_config(spec.config)
        drop_downloads(cfg.model)
        _set_classes(cfg.model)
        classifier = spec.config.startswith('mmpretrain::')
        if classifier:
            _adjust_classifier(cfg, size)
        model = build_model(cfg)
        model.init_weights()
        self.model = revert_sync_batchnorm(model).to(device)
        if classifier:
            self._make_classified()
        else:
            self._make_boxes(spec.masks)
        self._calibrate()

    def loss(self, model: nn.Module) -> Tensor:
        """Return the loss that a runner would call ``backward()`` of."""
        losses = model(self.inputs, self._samples(), mode='loss')
        return model.parse_losses(losses)[0]

    def outputs(self, model: nn.Module) -> list[Tensor]:
        """Return what the layers of the model compute, without choosing boxes from it.

        A two-stage model takes given proposals: which of its own survive depends on the last bits.
        """
        if not hasattr(model, 'roi_head'):
            result = model(self.inputs, self._samples(), mode='tensor')
        else:
            maps = model.extract_feat(self.inputs)
            rois = model.roi_head.forward(maps, self._proposals, self._samples())
            result = (model.rpn_head(maps), rois)
        return [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]

    def _samples(self) -> list:
        # Shallow and deep changes by a loss must not reach the next one.
        return [sample.clone() for sample in self.samples]

    def _make_boxes(self, masks: bool) -> None:
        from mmdet.models.dense_heads import RPNHead
        from mmdet.models.roi_heads.roi_extractors import BaseRoIExtractor
        from mmdet.testing import demo_mm_inputs, demo_mm_proposals

        shape = (3, self.size, self.size)
        data = demo_mm_inputs(
            self.batch,
            shape,
            num_items=[NUM_BOXES] * self.batch,
            num_classes=NUM_CLASSES,
            with_mask=masks,
        )
        data = self.model.data_preprocessor(data, True)
        self.inputs, self.samples = data['inputs'], data['data_samples']
        for module in self.model.modules():
            if isinstance(module, BaseRoIExtractor):
                module.register_forward_pre_hook(lambda _, args: _in_float32(args))
            if isinstance(module, RPNHead):
                module.register_forward_hook(lambda _, args, maps: _in_float32(maps))
        self._proposals = demo_mm_proposals([shape] * self.batch, 100, self.device)

    def _make_classified(self) -> None:
        from mmpretrain.structures import DataSample

        self.inputs = torch.randn(self.batch, 3, self.size, self.size, device=self.device)
        self.samples = [
            DataSample().set_gt_label(i % NUM_CLASSES).to(self.device) for i in range(self.batch)
        ]

    @torch.no_grad()
    def _calibrate(self) -> None:
        """Give the model weights more like those of a trained one, where it is built without.

        With the statistics that BatchNorms are built with, activations vanish on their way through
        random weights; residual branches, whose last scale is built as 0, compute nothing; and
        layers built as 0, such as a classifier's last, have no norm that DoRA could divide by.
        """
        norms = [m for m in self.model.modules() if isinstance(m, _BatchNorm)]
        momenta = [norm.momentum for norm in norms]
        self.model.train()
        for parameter in self.model.parameters():
            if parameter.dim() > 1 and not parameter.any():
                nn.init.normal_(parameter, std=0.02)
        for norm in norms:
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, std=0.1)
            # ResNet keeps its norms in eval mode by itself.
            norm.train().reset_running_stats()
            norm.momentum = None
        self.loss(self.model)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        self.model.eval()


def _in_float32(tensors: tuple) -> tuple:
    # mmcv's NMS and RoIAlign know no bfloat16. Outside of autocast this changes nothing.
    return tree_map_only(Tensor, Tensor.float, tensors)


def _set_classes(node) -> None:
    """Set the number of categories in a config of a model, at any depth."""
    if isinstance(node, dict) and 'num_classes' in node:
        node['num_classes'] = NUM_CLASSES
    if isinstance(node, (dict, list, tuple)):
        for item in node.values() if isinstance(node, dict) else node:
            _set_classes(item)


def _adjust_classifier(cfg: Config, size: int) -> None:
    cfg.model.backbone.img_size = size
    # Mixing images is work of the data pipeline.
    cfg.model.pop('train_cfg', None)
