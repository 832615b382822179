# Stock YOLOX-tiny with pipelines for minutes on a CPU: crops of 256 px, no mosaic, no mix-up.
# `python projects/detector_from_onnx/run.py --data FOLDER` inherits it; it knows no mmadapt.
_base_ = [
    'mmdet::yolox/yolox_tiny_8xb8-300e_coco.py',
    '../../../configs/_base_/schedules/adamw_cosine.py',
]
size, crop, gray = (416, 416), (256, 256), dict(img=(114, 114, 114))

model = dict(
    # YOLOX reads BGR from 0 to 255. Images come in one size.
    data_preprocessor=dict(batch_augments=None),
    bbox_head=dict(num_classes=1))

train_pipeline = [
    dict(type='LoadImageFromFile', backend_args=None),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomResize', scale=size, ratio_range=(0.8, 1.25), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop),
    dict(type='YOLOXHSVRandomAug'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='Pad', size=crop, pad_val=gray),
    dict(type='PackDetInputs')]
test_pipeline = [
    dict(type='LoadImageFromFile', backend_args=None),
    dict(type='Resize', scale=size, keep_ratio=True),
    dict(type='Pad', pad_to_square=True, pad_val=gray),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))]

loader = dict(num_workers=0, persistent_workers=False, pin_memory=False)
train_dataloader = dict(
    loader, batch_size=4, sampler=dict(_delete_=True, type='InfiniteSampler', shuffle=True),
    dataset=dict(_delete_=True, type='CocoDataset', pipeline=train_pipeline))
val_dataloader = dict(loader, batch_size=1, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=10),
    dict(type='CosineAnnealingLR', eta_min=0., by_epoch=False, begin=10)]
log_processor = dict(by_epoch=False)
custom_hooks = []  # no EMA: it pays in longer runs
