# Deformable DETR adapted to faces with LoRA.
# mmadapt train deformable-detr_r50_lora_face.py
_base_ = [
    'mmdet::deformable_detr/deformable-detr_r50_16xb2-50e_coco.py', '../_base_/peft/lora.py',
    '../_base_/datasets/face_det.py', '../_base_/schedules/adamw_cosine.py',
    '../_base_/runtime/finetune.py'
]
# Change these here: what follows from them is computed when this file is read.
max_epochs = 12
classes = _base_.face_det_classes
data_root = _base_.face_det_data_root  # ends with a slash

load_from = 'https://download.openmmlab.com/mmdetection/v3.0/deformable_detr/deformable-detr_r50_16xb2-50e_coco/deformable-detr_r50_16xb2-50e_coco_20221029_210934-6bc7d21b.pth'  # noqa: E501
model = dict(backbone=dict(init_cfg=None), bbox_head=dict(num_classes=len(classes)))

data = dict(data_root=data_root, metainfo=dict(classes=classes))
train_dataloader = dict(_base_.finetune_loader, dataset=dict(_base_.face_det_train, **data))
val_dataloader = test_dataloader = dict(
    persistent_workers=False, dataset=dict(_base_.face_det_val, **data))
val_evaluator = test_evaluator = dict(ann_file=data_root + _base_.face_det_val.ann_file)
optim_wrapper = dict(_base_.finetune_wrapper, _delete_=True)
auto_scale_lr = dict(base_batch_size=2)
param_scheduler = _base_.finetune_scheduler
train_cfg = dict(_base_.finetune_loops, max_epochs=max_epochs)
default_hooks = _base_.finetune_hooks
custom_imports = dict(imports=['mmadapt'], allow_failed_imports=False)
custom_hooks = [dict(type='PEFTInjectHook')]
