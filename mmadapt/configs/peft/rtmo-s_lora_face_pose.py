# RTMO-s adapted to five points of faces with LoRA: one stage, which finds the faces too.
# mmadapt train rtmo-s_lora_face_pose.py
_base_ = [
    'mmpose::body_2d_keypoint/rtmo/coco/rtmo-s_8xb32-600e_coco-640x640.py',
    '../_base_/peft/lora.py', '../_base_/datasets/face_pose.py',
    '../_base_/schedules/adamw_cosine.py', '../_base_/runtime/finetune.py'
]
# Change these here: what follows from them is computed when this file is read.
max_epochs = 40
metainfo = _base_.face_pose_metainfo  # the points
metainfo_file = __import__('mmadapt').base('datasets/face_pose.py')  # the file that has them
data_root = _base_.face_pose_data_root  # ends with a slash

load_from = 'https://download.openmmlab.com/mmpose/v1/projects/rtmo/rtmo-s_8xb32-600e_coco-640x640-8db55a59_20231211.pth'  # noqa: E501
head = dict(num_keypoints=len(metainfo['keypoint_info']), loss_oks=dict(metainfo=metainfo_file))
head['assigner'] = dict(oks_calculator=dict(metainfo=metainfo_file))
model = dict(backbone=dict(init_cfg=None), head=head)

# MMPose stops at a batch in which there is one face only: batches are large.
data = dict(data_root=data_root, metainfo=metainfo, data_mode='bottomup')
train_dataloader = dict(
    _base_.finetune_loader, batch_size=16, dataset=dict(_base_.face_pose_train, **data))
val_dataloader = test_dataloader = dict(dataset=dict(_base_.face_pose_val, **data))
ann_file = data_root + _base_.face_pose_val.ann_file
val_evaluator = test_evaluator = dict(_base_.face_pose_val_evaluator, ann_file=ann_file)
optim_wrapper = dict(_base_.finetune_wrapper, _delete_=True)
auto_scale_lr = dict(base_batch_size=16)
param_scheduler = _base_.finetune_scheduler
train_cfg = dict(_base_.finetune_loops, _delete_=True, max_epochs=max_epochs)
default_hooks = _base_.finetune_hooks
custom_imports = dict(imports=['mmadapt'], allow_failed_imports=False)
# The stock shares of the run; YOLOXPoseModeSwitchHook acts on one epoch more than it says.
last = dict(num_last_epochs=max(1, round(max_epochs / 30)) - 1)
attributes = {round(max_epochs * 7 / 15): _base_.custom_hooks[1]['epoch_attributes'][280]}
custom_hooks = [
    dict(_base_.custom_hooks[0], **last),
    dict(_base_.custom_hooks[1], epoch_attributes=attributes),
    *_base_.custom_hooks[2:],  # SyncNormHook, EMAHook
    dict(type='PEFTInjectHook')
]
