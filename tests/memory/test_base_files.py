"""The files of configs/_base_/memory name blocks of the stock models that they are for."""

from pathlib import Path

import pytest
from mmengine.config import Config

from mmadapt.memory import MemoryConfig, apply_memory
from mmadapt.memory.checkpointing import is_recomputed

BASES = Path(__file__).parents[2] / 'configs' / '_base_' / 'memory'
_CODER = dict(num_layers=2, layer_cfg=dict(ffn_cfg=dict(feedforward_channels=32)))
_DETR = dict(encoder=_CODER, decoder=_CODER)
_DEFORMABLE = 'DeformableDetrTransformer{}Layer'
CASES = [
    (
        'checkpoint_resnet',
        'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
        {},
        {'backbone.init_cfg': None},
        dict(Bottleneck=16),
    ),
    (
        'checkpoint_resnet',
        'regnet/retinanet_regnetx-800MF_fpn_1x_coco.py',
        {},
        {'backbone.init_cfg': None},
        dict(Bottleneck=16),
    ),
    (
        'checkpoint_cspnext',
        'rtmdet/rtmdet_tiny_8xb32-300e_coco.py',
        {},
        {'backbone.init_cfg': None},
        dict(Sequential=4, CSPLayer=4),
    ),
    (
        'checkpoint_swin',
        'swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py',
        {},
        {'backbone.init_cfg': None},
        dict(SwinBlock=12),
    ),
    (
        'checkpoint_detr',
        'detr/detr_r50_8xb2-150e_coco.py',
        _DETR,
        {'backbone.init_cfg': None},
        dict(DetrTransformerEncoderLayer=2, DetrTransformerDecoderLayer=2),
    ),
    (
        'checkpoint_resnet_detr',
        'dab_detr/dab-detr_r50_8xb2-50e_coco.py',
        _DETR,
        {'backbone.init_cfg': None},
        dict(Bottleneck=16, DetrTransformerEncoderLayer=2, DABDetrTransformerDecoderLayer=2),
    ),
    (
        'checkpoint_resnet_detr',
        'deformable_detr/deformable-detr_r50_16xb2-50e_coco.py',
        _DETR,
        {'backbone.init_cfg': None},
        {'Bottleneck': 16, _DEFORMABLE.format('Encoder'): 2, _DEFORMABLE.format('Decoder'): 2},
    ),
]
SWIN_DETR = {'SwinBlock': 8, _DEFORMABLE.format('Encoder'): 3, _DEFORMABLE.format('Decoder'): 3}


def recomputed(model):
    found = {}
    for module in model.modules():
        if is_recomputed(module):
            found[type(module).__name__] = found.get(type(module).__name__, 0) + 1
    return found


def memory(name):
    return MemoryConfig.parse(Config.fromfile(BASES / f'{name}.py').memory)


@pytest.mark.parametrize(('name', 'stock', 'changes', 'more', 'wanted'), CASES)
def test_a_file_names_the_blocks_of_its_models(name, stock, changes, more, wanted, detector):
    model = detector.build(stock, changes, **more)
    apply_memory(model, memory(name))
    assert recomputed(model) == wanted


@pytest.mark.parametrize(
    ('name', 'offload'),
    [('checkpoint_swin_detr', False), ('offload_swin_detr', True), ('offload', True)],
)
def test_files_for_dino_with_swin(name, offload, detector):
    with_cp = {'backbone.with_cp': True, 'encoder.num_cp': 3} if name == 'offload' else {}
    model = detector.build(**with_cp)
    apply_memory(model, memory(name))
    wanted = {k: v for k, v in SWIN_DETR.items() if not (with_cp and 'Decoder' in k)}
    assert recomputed(model) == wanted
    assert all(m.forward.offload == offload for m in model.modules() if is_recomputed(m))


def test_every_file_is_tried():
    tried = {case[0] for case in CASES} | {'checkpoint_swin_detr', 'offload_swin_detr', 'offload'}
    assert tried == {p.stem for p in BASES.glob('*.py') if 'fp32' not in p.stem}
