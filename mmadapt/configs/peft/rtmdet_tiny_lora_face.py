# RTMDet-tiny adapted to faces with LoRA, its head trained fully, the result merged at the end.
# mmadapt launch 2 train rtmdet_tiny_lora_face.py
_base_ = [
    'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py', '../_base_/peft/lora.py',
    '../_base_/datasets/face_det.py', '../_base_/schedules/sgd_cosine.py',
    '../_base_/runtime/finetune.py'
]
# Change these three here: what follows from them is computed when this file is read.
max_epochs = 1
classes = _base_.face_det_classes
data_root = _base_.face_det_data_root  # ends with a slash

load_from = 'https://download.openmmlab.com/mmdetection/v3.0/rtmdet/rtmdet_tiny_8xb32-300e_coco/rtmdet_tiny_8xb32-300e_coco_20220902_112414-78e30dcc.pth'  # noqa: E501
# That checkpoint holds the backbone too, so its ImageNet weights need not be fetched.
model = dict(backbone=dict(init_cfg=None), bbox_head=dict(num_classes=len(classes)))
peft = dict(export='state_dict')

data = dict(data_root=data_root, metainfo=dict(classes=classes))
train_dataloader = dict(
    _base_.finetune_loader, batch_size=1, dataset=dict(_base_.face_det_train, **data))
val_dataloader = test_dataloader = dict(
    persistent_workers=False, dataset=dict(_base_.face_det_val, **data))
val_evaluator = test_evaluator = dict(ann_file=data_root + _base_.face_det_val.ann_file)
optim_wrapper = dict(_base_.finetune_wrapper, _delete_=True, accumulative_counts=4)
auto_scale_lr = dict(base_batch_size=2)  # the rate is for 2 processes with a batch of 1 each
param_scheduler = _base_.finetune_scheduler
train_cfg = dict(_base_.finetune_loops, max_epochs=max_epochs)
default_hooks = _base_.finetune_hooks
randomness = dict(seed=56)
custom_imports = dict(imports=['mmadapt'], allow_failed_imports=False)
custom_hooks = [
    _base_.custom_hooks[0],  # EMAHook
    # It ends without mosaic and mixup: the same share of this run, and at least its last epoch.
    dict(_base_.custom_hooks[1], switch_epoch=max_epochs - max(1, round(max_epochs / 15))),
    dict(type='PEFTInjectHook')
]
