# HRNet-W32 adapted to five points of faces with LoRA: top-down, a heat map for each point.
# mmadapt train td-hm_hrnet-w32_lora_face_pose.py
_base_ = [
    'mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_hrnet-w32_8xb64-210e_coco-256x192.py',
    '../_base_/peft/lora.py', '../_base_/datasets/face_pose.py',
    '../_base_/schedules/adamw_cosine.py', '../_base_/runtime/finetune.py'
]
# Change these here: what follows from them is computed when this file is read.
max_epochs = 40
metainfo = _base_.face_pose_metainfo  # the points
data_root = _base_.face_pose_data_root  # ends with a slash

load_from = 'https://download.openmmlab.com/mmpose/v1/body_2d_keypoint/topdown_heatmap/coco/td-hm_hrnet-w32_8xb64-210e_coco-256x192-81c58e40_20220909.pth'  # noqa: E501
model = dict(backbone=dict(init_cfg=None), head=dict(out_channels=len(metainfo['keypoint_info'])))

data = dict(data_root=data_root, metainfo=metainfo)
train_dataloader = dict(
    _base_.finetune_loader, batch_size=32, dataset=dict(_base_.face_pose_train, **data))
val_dataloader = test_dataloader = dict(dataset=dict(_base_.face_pose_val, **data))
ann_file = data_root + _base_.face_pose_val.ann_file
val_evaluator = test_evaluator = dict(_base_.face_pose_val_evaluator, ann_file=ann_file)
optim_wrapper = dict(_base_.finetune_wrapper, _delete_=True)
auto_scale_lr = dict(base_batch_size=32)
param_scheduler = _base_.finetune_scheduler
train_cfg = dict(_base_.finetune_loops, _delete_=True, max_epochs=max_epochs)
default_hooks = _base_.finetune_hooks
custom_imports = dict(imports=['mmadapt'], allow_failed_imports=False)
custom_hooks = [*_base_.get('custom_hooks', []), dict(type='PEFTInjectHook')]
