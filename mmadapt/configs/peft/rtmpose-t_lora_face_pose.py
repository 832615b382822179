# RTMPose-tiny adapted to five points of faces with LoRA: top-down, in boxes that are given.
# mmadapt train rtmpose-t_lora_face_pose.py
_base_ = [
    'mmpose::body_2d_keypoint/rtmpose/coco/rtmpose-t_8xb256-420e_coco-256x192.py',
    '../_base_/peft/lora.py', '../_base_/datasets/face_pose.py',
    '../_base_/schedules/adamw_cosine.py', '../_base_/runtime/finetune.py'
]
# Change these here: what follows from them is computed when this file is read.
max_epochs = 40
metainfo = _base_.face_pose_metainfo  # the points
data_root = _base_.face_pose_data_root  # ends with a slash

load_from = 'https://download.openmmlab.com/mmpose/v1/projects/rtmposev1/rtmpose-tiny_simcc-coco_pt-aic-coco_420e-256x192-e613ba3f_20230127.pth'  # noqa: E501
model = dict(backbone=dict(init_cfg=None), head=dict(out_channels=len(metainfo['keypoint_info'])))

# Without the stock step Albumentation, which needs the package albumentations below version 2.
train_pipeline = [step for step in _base_.train_pipeline if step['type'] != 'Albumentation']
stage2_pipeline = [step for step in _base_.train_pipeline_stage2 if step['type'] != 'Albumentation']
data = dict(data_root=data_root, metainfo=metainfo)
train = dict(data, pipeline=train_pipeline)
train_dataloader = dict(
    _base_.finetune_loader, batch_size=32, dataset=dict(_base_.face_pose_train, **train))
val_dataloader = test_dataloader = dict(dataset=dict(_base_.face_pose_val, **data))
ann_file = data_root + _base_.face_pose_val.ann_file
val_evaluator = test_evaluator = dict(_base_.face_pose_val_evaluator, ann_file=ann_file)
optim_wrapper = dict(_base_.finetune_wrapper, _delete_=True)
auto_scale_lr = dict(base_batch_size=32)
param_scheduler = _base_.finetune_scheduler
train_cfg = dict(_base_.finetune_loops, _delete_=True, max_epochs=max_epochs)
default_hooks = _base_.finetune_hooks
custom_imports = dict(imports=['mmadapt'], allow_failed_imports=False)
last_epochs = max(1, round(max_epochs / 14))  # the stock share, with milder changes of images
switch = dict(switch_epoch=max_epochs - last_epochs, switch_pipeline=stage2_pipeline)
custom_hooks = [dict(_base_.custom_hooks[0], **switch), dict(type='PEFTInjectHook')]
