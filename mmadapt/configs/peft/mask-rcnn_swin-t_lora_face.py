# Mask R-CNN with a Swin-T adapted to masks of faces with LoRA.
# mmadapt train mask-rcnn_swin-t_lora_face.py
_base_ = [
    'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py', '../_base_/peft/lora.py',
    '../_base_/datasets/face_ins.py', '../_base_/schedules/adamw_cosine.py',
    '../_base_/runtime/finetune.py'
]
# Change these here: what follows from them is computed when this file is read.
max_epochs = 12
classes = _base_.face_ins_classes
data_root = _base_.face_ins_data_root  # ends with a slash

load_from = 'https://download.openmmlab.com/mmdetection/v2.0/swin/mask_rcnn_swin-t-p4-w7_fpn_1x_coco/mask_rcnn_swin-t-p4-w7_fpn_1x_coco_20210902_120937-9d6b7cfa.pth'  # noqa: E501
head = dict(num_classes=len(classes))
model = dict(backbone=dict(init_cfg=None), roi_head=dict(bbox_head=head, mask_head=head))

data = dict(data_root=data_root, metainfo=dict(classes=classes))
train_dataloader = dict(_base_.finetune_loader, dataset=dict(_base_.face_ins_train, **data))
val_dataloader = test_dataloader = dict(
    persistent_workers=False, dataset=dict(_base_.face_ins_val, **data))
val_evaluator = test_evaluator = dict(ann_file=data_root + _base_.face_ins_val.ann_file)
optim_wrapper = dict(_base_.finetune_wrapper, _delete_=True)
auto_scale_lr = dict(base_batch_size=2)
param_scheduler = _base_.finetune_scheduler
train_cfg = dict(_base_.finetune_loops, max_epochs=max_epochs)
# The best masks: 'auto' would take the first figure, which is that of the boxes.
best = dict(_base_.finetune_hooks['checkpoint'], save_best='coco/segm_mAP')
default_hooks = dict(checkpoint=best)
custom_imports = dict(imports=['mmadapt'], allow_failed_imports=False)
custom_hooks = [dict(type='PEFTInjectHook')]
