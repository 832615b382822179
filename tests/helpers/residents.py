"""A base with named classes and adapters of it, made without a training."""

from pathlib import Path

import numpy as np
import torch
from adapting import perturb
from mmengine.config import Config
from mmengine.hub import get_config
from PIL import Image

from mmadapt import inject, save_adapter
from mmadapt.config_model import build_model
from mmadapt.files import BaseRecord, make_base_record
from mmadapt.files.described_model import DescribedModel

STOCK = 'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py'
SIZE = 96


def small(cfg: Config) -> Config:
    """Let images of a config be small."""
    cfg.model.backbone.init_cfg = None
    for step in cfg.test_dataloader.dataset.pipeline:
        if step['type'] in ('Resize', 'Pad'):
            step[dict(Resize='scale', Pad='size')[step['type']]] = (SIZE, SIZE)
    cfg.model.test_cfg.score_thr = 0.01
    return cfg


def write_base(path: Path, classes, stock: str = STOCK) -> Config:
    """Write a checkpoint of a stock model with these classes, its weights seeded."""
    cfg = small(get_config(stock))
    cfg.model.bbox_head.num_classes = len(classes)
    torch.manual_seed(0)
    model = build_model(cfg)
    model.init_weights()
    for name, parameter in model.named_parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
        if 'rtm_cls' in name and name.endswith('bias'):
            parameter.data += 4  # so that something is seen
        if 'rtm_reg' in name and name.endswith('bias'):
            parameter.data += 20
    meta = dict(dataset_meta=dict(classes=tuple(classes)))
    torch.save(dict(meta=meta, state_dict=model.state_dict()), path)
    return cfg


def write_adapter(folder: Path, base: Path, classes, seed: int = 1) -> str:
    """Write an adapter folder of the base, for other classes, with what describes its model."""
    cfg = small(get_config(STOCK))
    cfg.model.bbox_head.num_classes = len(classes)
    torch.manual_seed(seed)
    model = build_model(cfg)
    model.init_weights()
    state = torch.load(base, weights_only=True)['state_dict']
    own = model.state_dict()
    fits = {key: value for key, value in state.items() if value.shape == own[key].shape}
    record: BaseRecord = make_base_record(model, str(base), state)
    model.load_state_dict(fits, strict=False)
    inject(model, dict(method=dict(type='LoRA', r=4, alpha=8)), not_loaded=record.not_in_base)
    perturb(model)
    for name, parameter in model.named_parameters():
        if 'rtm_cls' in name and name.endswith('bias'):
            parameter.data += 4
    save_adapter(
        model, str(folder), record, classes, described=DescribedModel.of(cfg, dict(classes=classes))
    )
    return str(folder)


def write_images(folder: Path, count: int = 3) -> list[str]:
    """Write images of noise and rectangles."""
    folder.mkdir(parents=True, exist_ok=True)
    random, paths = np.random.default_rng(0), []
    for index in range(count):
        image = random.integers(0, 90, (SIZE, SIZE + 8 * index, 3), dtype=np.uint8)
        image[10:60, 20:70] = random.integers(100, 255, 3)
        paths.append(str(folder / f'{index}.png'))
        Image.fromarray(image).save(paths[-1])
    return paths
