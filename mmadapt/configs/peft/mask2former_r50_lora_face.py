# Mask2Former adapted to masks of faces with LoRA.
# mmadapt train mask2former_r50_lora_face.py
_base_ = [
    'mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py', '../_base_/peft/lora.py',
    '../_base_/datasets/face_ins.py', '../_base_/schedules/adamw_cosine.py',
    '../_base_/runtime/finetune.py'
]
# Change these here: what follows from them is computed when this file is read.
max_epochs = 12
classes = _base_.face_ins_classes
data_root = _base_.face_ins_data_root  # ends with a slash

load_from = 'https://download.openmmlab.com/mmdetection/v3.0/mask2former/mask2former_r50_8xb2-lsj-50e_coco/mask2former_r50_8xb2-lsj-50e_coco_20220506_191028-41b088b6.pth'  # noqa: E501
things = dict(num_things_classes=len(classes))
model = dict(
    backbone=dict(init_cfg=None), panoptic_fusion_head=things,
    panoptic_head=dict(things, loss_cls=dict(class_weight=[1.] * len(classes) + [.1])))

# Nothing is left of the panoptic data set that the stock config begins with.
data = dict(data_root=data_root, metainfo=dict(classes=classes), _delete_=True)
train_dataloader = dict(
    _base_.finetune_loader,
    dataset=dict(_base_.face_ins_train, pipeline=_base_.train_pipeline, **data))
val_dataloader = test_dataloader = dict(
    persistent_workers=False,
    dataset=dict(_base_.face_ins_val, pipeline=_base_.test_pipeline, **data))
val_evaluator = test_evaluator = dict(ann_file=data_root + _base_.face_ins_val.ann_file)
optim_wrapper = dict(_base_.finetune_wrapper, _delete_=True)
auto_scale_lr = dict(base_batch_size=2)
param_scheduler = _base_.finetune_scheduler
train_cfg = dict(_base_.finetune_loops, _delete_=True, max_epochs=max_epochs)
# The best masks: 'auto' would take the first figure, which is that of the boxes.
best = dict(_base_.finetune_hooks['checkpoint'], save_best='coco/segm_mAP')
default_hooks = dict(checkpoint=best)
custom_imports = dict(imports=['mmadapt'], allow_failed_imports=False)
custom_hooks = [dict(type='PEFTInjectHook')]
log_processor = dict(by_epoch=True)
