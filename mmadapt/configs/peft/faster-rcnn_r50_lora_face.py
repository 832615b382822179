# Faster R-CNN adapted to faces with LoRA: two stages, no custom hooks of its own.
# mmadapt launch 2 train faster-rcnn_r50_lora_face.py
_base_ = [
    'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', '../_base_/peft/lora.py',
    '../_base_/datasets/face_det.py', '../_base_/schedules/sgd_cosine.py',
    '../_base_/runtime/finetune.py'
]
# Change these three here: what follows from them is computed when this file is read.
max_epochs = 12
classes = _base_.face_det_classes
data_root = _base_.face_det_data_root  # ends with a slash

custom_imports = dict(imports=['mmadapt'], allow_failed_imports=False)
custom_hooks = [dict(type='PEFTInjectHook')]
load_from = 'https://download.openmmlab.com/mmdetection/v2.0/faster_rcnn/faster_rcnn_r50_fpn_1x_coco/faster_rcnn_r50_fpn_1x_coco_20200130-047c8118.pth'  # noqa: E501
# That checkpoint holds the backbone too, so its ImageNet weights need not be fetched.
model = dict(
    backbone=dict(init_cfg=None), roi_head=dict(bbox_head=dict(num_classes=len(classes))))

data_args = dict(data_root=data_root, metainfo=dict(classes=classes))
loader = _base_.finetune_loader
train_dataloader = dict(loader, batch_size=2, dataset=dict(_base_.face_det_train, **data_args))
val_dataloader = dict(loader, dataset=dict(_base_.face_det_val, **data_args))
test_dataloader = dict(loader, dataset=dict(_base_.face_det_test, **data_args))
val_evaluator = dict(ann_file=data_root + _base_.face_det_val.ann_file)
test_evaluator = dict(ann_file=data_root + _base_.face_det_test.ann_file)

optim_wrapper = dict(optimizer=_base_.finetune_optimizer)
param_scheduler = _base_.finetune_scheduler
auto_scale_lr = dict(base_batch_size=4)  # the rate is for 2 processes with a batch of 2 each
train_cfg = dict(_base_.finetune_loops, max_epochs=max_epochs)
default_hooks = _base_.finetune_hooks
