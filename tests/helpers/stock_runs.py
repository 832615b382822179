"""Runs of MMDetection's own, unmodified tools in subprocesses, on tiny data."""

import json
import os
from pathlib import Path

import mmdet
import numpy as np
import pytest
import torch
from launch import launch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image

TOOLS = Path(mmdet.__file__).parent / '.mim' / 'tools'
HERE = Path(__file__).parent
SIZE = 96
CLASSES = ('square', 'dot')
MODELS = dict(
    rtmdet=(
        'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py',
        'model = dict(backbone=dict(init_cfg=None), bbox_head=dict(num_classes={n}))',
    ),
    faster_rcnn=(
        'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
        # Few regions of an image: on a CPU a step with a thousand takes ten times as long.
        'model = dict(backbone=dict(init_cfg=None), '
        'train_cfg=dict(rpn_proposal=dict(max_per_img=30), rcnn=dict(sampler=dict(num=30))), '
        'test_cfg=dict(rpn=dict(max_per_img=30)), '
        'roi_head=dict(bbox_head=dict(num_classes={n})))',
    ),
    swin=(
        'mmdet::swin/retinanet_swin-t-p4-w7_fpn_1x_coco.py',
        # Stochastic depth would leave out some layers of some steps.
        'model = dict(backbone=dict(init_cfg=None, drop_path_rate=0.0), '
        'bbox_head=dict(num_classes={n}))',
    ),
)

_TEMPLATE = """
_base_ = ['{stock}']
custom_imports = dict(imports=['mmadapt', 'probe'], allow_failed_imports=False)
{model}
load_from = {base!r}
peft = {peft!r}
size = ({size}, {size})
normal = [dict(type='Resize', scale=size, keep_ratio=False)]
train_pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True),
                  *normal, dict(type='RandomFlip', prob=0.5), dict(type='PackDetInputs')]
test_pipeline = [dict(type='LoadImageFromFile'), *normal,
                 dict(type='LoadAnnotations', with_bbox=True),
                 dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape',
                                                       'img_shape', 'scale_factor'))]
loader = dict(batch_size=2, num_workers=0, persistent_workers=False, pin_memory=False)
data = dict(_delete_=True, type='CocoDataset', data_root={data!r},
            metainfo=dict(classes={classes!r}))
train_dataloader = dict(**loader, dataset=dict(
    **data, ann_file='train.json', data_prefix=dict(img='train/'), pipeline=train_pipeline))
val_dataloader = dict(**loader, dataset=dict(
    **data, ann_file='val.json', data_prefix=dict(img='val/'), pipeline=test_pipeline,
    test_mode=True))
test_dataloader = val_dataloader
val_evaluator = dict(_delete_=True, type='CocoMetric', ann_file={data!r} + '/val.json',
                     metric='bbox')
test_evaluator = val_evaluator
train_cfg = dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs={epochs}, val_interval=1)
optim_wrapper = dict(_delete_=True, type='OptimWrapper',
                     optimizer=dict(type='Adam', lr=1e-3, eps=1e-16))
param_scheduler = [dict(type='CosineAnnealingLR', T_max={epochs}, convert_to_iter_based=True)]
auto_scale_lr = dict(_delete_=True, enable=False, base_batch_size=2)
default_hooks = dict(logger=dict(interval=1),
                     checkpoint=dict(_delete_=True, type='CheckpointHook', interval=1))
custom_hooks = [{hooks}dict(type='PEFTInjectHook'){probe}]
randomness = dict(seed=3)
{extra}
"""
_EMA = (
    "dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.2, update_buffers=True, "
    "priority=49), dict(type='PipelineSwitchHook', switch_epoch=1, "
    'switch_pipeline=train_pipeline), '
)
LORA = dict(method=dict(type='LoRA', r=4, alpha=8, dropout=0.0))
# What tools/test.py --tta needs of a config.
TTA = """
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='TestTimeAug', transforms=[
        normal, [dict(type='RandomFlip', prob=1.), dict(type='RandomFlip', prob=0.)],
        [dict(type='LoadAnnotations', with_bbox=True)],
        [dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape',
                                               'scale_factor', 'flip', 'flip_direction'))]])]
"""


def write_data(folder: Path) -> None:
    """Write 12 training and 4 validation images, each with rectangles for every feature level."""
    random = np.random.default_rng(0)
    for split, count in (('train', 12), ('val', 4)):
        (folder / split).mkdir(parents=True)
        images, annotations = [], []
        for index in range(count):
            image = random.integers(0, 90, (SIZE, SIZE, 3), dtype=np.uint8)
            for side in (80, 40, 14):
                w, h = random.integers(side - 4, side + 4, 2)
                x, y = random.integers(0, SIZE - side - 4, 2)
                image[y : y + h, x : x + w] = random.integers(100, 255, 3)
                annotations.append(
                    dict(
                        id=len(annotations) + 1,
                        image_id=index,
                        category_id=1 + side % 3 % 2,
                        bbox=[int(x), int(y), int(w), int(h)],
                        area=int(w * h),
                        iscrowd=0,
                    )
                )
            Image.fromarray(image).save(folder / split / f'{index}.png')
            images.append(dict(id=index, file_name=f'{index}.png', width=SIZE, height=SIZE))
        (folder / f'{split}.json').write_text(
            json.dumps(
                dict(
                    images=images,
                    annotations=annotations,
                    categories=[dict(id=i + 1, name=name) for i, name in enumerate(CLASSES)],
                )
            )
        )


def write_base(path: Path, kind: str, num_classes: int = 80) -> None:
    """Write a checkpoint of a stock model, by default for COCO's classes, its weights seeded."""
    from mmdet.registry import MODELS as REGISTRY

    stock, model = MODELS[kind]
    config = path.with_suffix('.py')
    config.write_text(f"_base_ = ['{stock}']\n{model.format(n=num_classes)}\n")
    init_default_scope('mmdet')
    torch.manual_seed(0)
    detector = REGISTRY.build(Config.fromfile(config).model)
    if hasattr(detector, 'level_embed'):
        torch.nn.init.normal_(detector.level_embed)  # DINO leaves in it what was in memory
    for parameter in detector.parameters():
        # Not only where init_weights would put it: a statistic or bias of 0 hides what is lost.
        parameter.data += 0.01 * torch.randn_like(parameter)
    torch.save(dict(meta={}, state_dict=detector.state_dict()), path)


def write_config(
    folder: Path,
    kind: str,
    data: Path,
    base,
    peft=LORA,
    *,
    epochs=1,
    ema=True,
    probe='',
    extra='',
    name='config',
    size=SIZE,
) -> Path:
    """Write the config of a run as a user would, inheriting a stock one."""
    stock, model = MODELS[kind]
    path = folder / f'{name}.py'
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(
        _TEMPLATE.format(
            stock=stock,
            model=model.format(n=len(CLASSES)),
            base=None if base is None else str(base),
            peft=peft,
            size=size,
            data=str(data),
            classes=CLASSES,
            epochs=epochs,
            extra=extra,
            hooks=_EMA if kind == 'rtmdet' and ema else '',
            probe=f', dict(type="Probe", {probe})' if probe else '',
        )
    )
    return path


def environment() -> dict:
    """Return the environment of a run: this checkout, one thread a process, no accelerator."""
    path = os.pathsep.join([str(HERE.parent.parent), str(HERE), os.environ.get('PYTHONPATH', '')])
    return dict(os.environ, PYTHONPATH=path, OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='-1')


def run(tool: str, *args, processes: int = 1, fails: bool = False) -> str:
    """Run one of MMDetection's tools, or another script, and return what it printed."""
    # An absolute path takes the place of the folder of tools.
    arguments = [*map(str, args), *(['--launcher', 'pytorch'] if processes > 1 else [])]
    code, output = launch(TOOLS / tool, arguments, environment(), processes)
    if (code != 0) != fails:
        shown = output[max(output.find('Traceback'), 0) :]
        pytest.fail(f'{tool} ended with {code}:\n{shown[:3000]}\n...\n{shown[-3000:]}')
    return output


def losses(work_dir: Path) -> dict[int, float]:
    """Return the loss of every iteration that the runs in a work directory logged."""
    result = {}
    for file in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in file.read_text().splitlines():
            entry = json.loads(line)
            if 'loss' in entry:
                result[entry['step']] = entry['loss']
    return result
