"""A job of each task, converted and trained for two steps: what it promises is left behind."""

import json
from pathlib import Path

import cls_leaves
import det_leaves
import pose_leaves
import pytest
import seg_leaves
import torch
from leaf_chain import shrink, without_downloads
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from mmadapt.commands import train
from mmadapt.config_model import model_config
from mmadapt.jobs import Job, convert_job
from mmadapt.jobs.convert import data_file
from mmadapt.jobs.stock import find_stock

SIDE = 64
COCO = dict(train_ann_file='annotations_coco.json', val_ann_file='annotations_coco.json')
# By task: its data below data/, and the keys that name data and model.
JOBS = {
    'object_detection': (
        det_leaves,
        'face_det',
        dict(COCO, MODEL_PATH='rtmdet_tiny_8xb32-300e_coco'),
    ),
    'instance_segmentation': (
        det_leaves,
        'face_ins',
        dict(COCO, MODEL_PATH='rtmdet-ins_tiny_8xb32-300e_coco'),
    ),
    'image_segmentation': (
        seg_leaves,
        'face_seg',
        dict(
            MODEL_PATH='segformer_mit-b0_8xb2-160k_ade20k-512x512',
            class_list=['background', 'skin', 'hair'],
            palette=[[0, 0, 0], [9, 99, 9], [200, 0, 0]],
        ),
    ),
    'pose_detection': (
        pose_leaves,
        'face_pose',
        dict(COCO, MODEL_PATH='td-hm_res50_8xb64-210e_coco-256x192'),
    ),
    'image_classification': (cls_leaves, 'face_cls', dict(MODEL_PATH='resnet18_8xb32_in1k')),
}
COMMON = dict(
    TRAIN_DIR='train',
    VAL_DIR='validation',
    EPOCHS=1,
    BATCH_SIZE=2,
    NUM_WORKERS=0,
    PEFT_METHOD='LoRA',
    r=4,
    alpha=8,
    dropout=0.1,
    OPTIMIZER='SGD',
    LR=1e-3,
    SCHEDULER_TYPE='CosineAnnealingLR',
    END=50,
    INTERVAL='epoch',
    OUTPUT_DIR='user_data/jobs/JOB',
    LOGGING_PATH='user_data/logs/JOB',
    MERGE_ADAPTER=True,
    SAVE_METHOD='state_dict',
)


def name_points(folder: Path) -> None:
    """Write the names of the points into the files, as exports have them."""
    names = ['left_eye', 'right_eye', 'nose', 'left_mouth', 'right_mouth']
    for path in folder.rglob('*.json'):
        content = json.loads(path.read_text())
        for category in content['categories']:
            category.update(keypoints=names, skeleton=[])
        path.write_text(json.dumps(content))


def write_base(job: Job, path: str) -> None:
    """Write a checkpoint of the stock model that a job names, its weights random."""
    cfg = Config.fromfile(find_stock(job).file, import_custom_modules=False)
    without_downloads(cfg.model)
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model = MODELS.build(model_config(cfg))
    model.init_weights()
    torch.save(dict(meta={}, state_dict=model.state_dict()), path)


@pytest.mark.parametrize('task', JOBS)
def test_a_converted_job_trains_and_leaves_what_it_promises(task, tmp_path, monkeypatch):
    helper, folder, keys = JOBS[task]
    package = dict(pose='mmpose', seg='mmseg', cls='mmpretrain').get(
        helper.__name__.partition('_')[0], 'mmdet'
    )
    pytest.importorskip(package, exc_type=ImportError)
    monkeypatch.chdir(tmp_path)
    helper.write_data(tmp_path)
    if task == 'pose_detection':
        name_points(tmp_path / 'data' / folder)
    keys = dict(COMMON, TASK=task, CUSTOM_DATASET_PATH=f'data/{folder}', **keys)
    write_base(Job(keys), 'base.pth')
    job = Job(dict(keys, LOCAL_MODEL_PATH='base.pth'), 'job.yaml')
    out = Path('my_job.py')
    done = convert_job(job, out, ['mmadapt', 'convert', 'job.yaml'])
    assert done is not None, job.errors
    assert done.command == ['mmadapt', 'train', 'my_job.py']
    data_file(out).write_text(done.data)
    make_small(done.config)
    train.main(['short.py'])
    assert torch.load('user_data/jobs/JOB/merged_model_state_dict.pth', weights_only=True)
    assert Path('user_data/jobs/JOB/adapter/adapter_model.safetensors').is_file()
    log = Path('user_data/logs/JOB/log.log').read_text()
    assert 'Epoch(train) [1][' in log
    assert 'Epoch(val) [1][' in log
    assert 'DEBUG' not in log


def make_small(text: str) -> None:
    """Write the config for tiny images, and without what would be fetched."""
    Path('my_job.py').write_text(text)
    cfg = Config.fromfile('my_job.py')
    for loop in ('train', 'val', 'test'):
        shrink(cfg[f'{loop}_dataloader'].dataset, SIDE)
    shrink(cfg.custom_hooks, SIDE)
    shrink(cfg.get('data_preprocessor'), SIDE)
    shrink(cfg.model.get('data_preprocessor'), SIDE)
    cfg.log_processor = dict(cfg.get('log_processor') or {}, window_size=1)
    cfg.default_hooks.logger = dict(cfg.default_hooks.get('logger') or {}, interval=1)
    Path('short.py').write_text(
        '\n'.join(f'{key} = {value!r}' for key, value in cfg.to_dict().items())
    )
