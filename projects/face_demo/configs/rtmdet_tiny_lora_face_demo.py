# LoRA on RTMDet-tiny for the sample faces of `make demo`: 192 px, minutes on two CPU cores.
# ./tools/dist_train.sh projects/face_demo/configs/rtmdet_tiny_lora_face_demo.py 2
_base_ = [
    'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py', '../../../configs/_base_/peft/lora.py',
    '../../../configs/_base_/datasets/face_det.py',
    '../../../configs/_base_/schedules/adamw_cosine.py',
    '../../../configs/_base_/runtime/finetune.py', './pipelines.py'
]
max_epochs = 10
classes = ('face', )
data_root = 'data/face_demo/'

custom_imports = dict(imports=['mmadapt'], allow_failed_imports=False)
custom_hooks = [dict(type='PEFTInjectHook')]  # no EMA: it pays in longer runs
load_from = 'data/face_demo_base/base.pth'  # projects/face_demo says what that is
model = dict(backbone=dict(init_cfg=None), bbox_head=dict(num_classes=len(classes)))
peft = dict(method=dict(r=32, alpha=32, dropout=0.), head='train')

data_args = dict(data_root=data_root, metainfo=dict(classes=classes))
test_args = dict(data_args, pipeline=_base_.demo_test_pipeline)
loader = dict(batch_size=4, num_workers=0, persistent_workers=False, pin_memory=False)
train_dataloader = dict(loader, dataset=dict(
    _base_.face_det_train, pipeline=_base_.demo_plain_train_pipeline, **data_args))
val_dataloader = dict(loader, dataset=dict(_base_.face_det_val, **test_args))
test_dataloader = dict(loader, dataset=dict(_base_.face_det_test, **test_args))
val_evaluator = dict(
    _base_.face_det_val_evaluator, ann_file=data_root + _base_.face_det_val.ann_file)
test_evaluator = val_evaluator

optim_wrapper = dict(optimizer=dict(_base_.finetune_optimizer, lr=4e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=20),
    dict(type='CosineAnnealingLR', eta_min=0., by_epoch=False, begin=20)]
auto_scale_lr = dict(base_batch_size=8)  # the rate is for 2 processes with a batch of 4 each
train_cfg = dict(_base_.finetune_loops, max_epochs=max_epochs, val_interval=max_epochs)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=max_epochs))
randomness = dict(seed=56)
