# RTMDet-tiny with ImageNet's MobileNetV2 in place of its backbone, on crops of 160 px, for minutes
# on a CPU. `python projects/methods_compared/run.py --data FOLDER` inherits it for every run.
_base_ = [
    'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py',
    '../../../configs/_base_/schedules/adamw_cosine.py',
]
size, crop = (320, 320), (160, 160)

model = dict(
    # torchvision's weights expect RGB.
    data_preprocessor=dict(
        pad_size_divisor=32,
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True),
    backbone=dict(_delete_=True, type='MobileNetV2', out_indices=(2, 4, 6)),
    neck=dict(in_channels=[32, 96, 320]))

train_pipeline = [
    dict(type='LoadImageFromFile', backend_args=None),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomResize', scale=size, ratio_range=(0.8, 1.25), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop),
    dict(type='YOLOXHSVRandomAug'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='Pad', size=crop, pad_val=dict(img=(114, 114, 114))),
    dict(type='PackDetInputs')]
test_pipeline = [
    dict(type='LoadImageFromFile', backend_args=None),
    dict(type='Resize', scale=size, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))]

loader = dict(num_workers=0, persistent_workers=False, pin_memory=False)
train_dataloader = dict(
    loader, batch_size=4, sampler=dict(_delete_=True, type='InfiniteSampler', shuffle=True),
    dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(loader, batch_size=1, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=10),
    dict(type='CosineAnnealingLR', eta_min=0., by_epoch=False, begin=10)]
log_processor = dict(by_epoch=False)
custom_hooks = []  # no EMA: it pays in longer runs
