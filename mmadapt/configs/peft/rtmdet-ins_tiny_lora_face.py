# RTMDet-Ins-tiny adapted to masks of faces with LoRA.
# mmadapt train rtmdet-ins_tiny_lora_face.py
_base_ = [
    'mmdet::rtmdet/rtmdet-ins_tiny_8xb32-300e_coco.py', '../_base_/peft/lora.py',
    '../_base_/datasets/face_ins.py', '../_base_/schedules/sgd_cosine.py',
    '../_base_/runtime/finetune.py'
]
# Change these here: what follows from them is computed when this file is read.
max_epochs = 12
classes = _base_.face_ins_classes
data_root = _base_.face_ins_data_root  # ends with a slash

load_from = 'https://download.openmmlab.com/mmdetection/v3.0/rtmdet/rtmdet-ins_tiny_8xb32-300e_coco/rtmdet-ins_tiny_8xb32-300e_coco_20221130_151727-ec670f7e.pth'  # noqa: E501
model = dict(backbone=dict(init_cfg=None), bbox_head=dict(num_classes=len(classes)))

data = dict(data_root=data_root, metainfo=dict(classes=classes))
train_dataloader = dict(
    _base_.finetune_loader, batch_size=8, dataset=dict(_base_.face_ins_train, **data))
val_dataloader = test_dataloader = dict(
    persistent_workers=False, dataset=dict(_base_.face_ins_val, **data))
val_evaluator = test_evaluator = dict(ann_file=data_root + _base_.face_ins_val.ann_file)
optim_wrapper = dict(_base_.finetune_wrapper, _delete_=True)
auto_scale_lr = dict(base_batch_size=8)
param_scheduler = _base_.finetune_scheduler
train_cfg = dict(_base_.finetune_loops, max_epochs=max_epochs)
# The best masks: 'auto' would take the first figure, which is that of the boxes.
best = dict(_base_.finetune_hooks['checkpoint'], save_best='coco/segm_mAP')
default_hooks = dict(checkpoint=best)
custom_imports = dict(imports=['mmadapt'], allow_failed_imports=False)
custom_hooks = [
    _base_.custom_hooks[0],  # EMAHook
    dict(_base_.custom_hooks[1], switch_epoch=max_epochs - max(1, round(max_epochs / 15))),
    dict(type='PEFTInjectHook')
]
