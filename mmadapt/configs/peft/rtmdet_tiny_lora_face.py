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

custom_imports = dict(imports=['mmadapt'], allow_failed_imports=False)
load_from = 'https://download.openmmlab.com/mmdetection/v3.0/rtmdet/rtmdet_tiny_8xb32-300e_coco/rtmdet_tiny_8xb32-300e_coco_20220902_112414-78e30dcc.pth'  # noqa: E501
# That checkpoint holds the backbone too, so its ImageNet weights need not be fetched.
model = dict(backbone=dict(init_cfg=None), bbox_head=dict(num_classes=len(classes)))
peft = dict(export='state_dict')

data_args = dict(data_root=data_root, metainfo=dict(classes=classes))
loader = dict(_base_.finetune_loader, batch_size=1)
train_dataloader = dict(loader, dataset=dict(_base_.face_det_train, **data_args))
val_dataloader = dict(loader, dataset=dict(_base_.face_det_val, **data_args))
test_dataloader = dict(loader, dataset=dict(_base_.face_det_test, **data_args))
val_evaluator = dict(ann_file=data_root + _base_.face_det_val.ann_file)
test_evaluator = dict(ann_file=data_root + _base_.face_det_test.ann_file)

optim_wrapper = dict(
    _delete_=True, type='OptimWrapper', optimizer=_base_.finetune_optimizer, accumulative_counts=4)
param_scheduler = _base_.finetune_scheduler
auto_scale_lr = dict(base_batch_size=2)  # the rate is for 2 processes with a batch of 1 each
train_cfg = dict(_base_.finetune_loops, max_epochs=max_epochs)
# RTMDet ends without mosaic and mixup: the same share of this run, and at least its last epoch.
stage2_num_epochs = max(1, round(max_epochs * _base_.stage2_num_epochs / _base_.max_epochs))
custom_hooks = [dict(hook, switch_epoch=max_epochs - stage2_num_epochs)
                if hook['type'] == 'PipelineSwitchHook' else hook for hook in _base_.custom_hooks]
custom_hooks += [dict(type='PEFTInjectHook')]
default_hooks = _base_.finetune_hooks
randomness = dict(seed=56)
