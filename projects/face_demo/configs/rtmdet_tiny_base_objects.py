# Trains the demo's own base from random weights: stock RTMDet-tiny on five things, none a face.
# python -m projects.face_demo.base
_base_ = ['mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py', './pipelines.py']

data_root = 'data/face_demo_base/objects/'
classes = ('cat', 'cup', 'motorcycle', 'horse', 'logo')
iterations, lr = 450, 4e-3

model = dict(backbone=dict(init_cfg=None), bbox_head=dict(num_classes=len(classes)))
train_dataloader = dict(
    batch_size=8, num_workers=0, persistent_workers=False, pin_memory=False,
    sampler=dict(_delete_=True, type='InfiniteSampler', shuffle=True),
    dataset=dict(
        data_root=data_root, ann_file='train/annotations_coco.json',
        data_prefix=dict(img='train/'), metainfo=dict(classes=classes),
        filter_cfg=dict(filter_empty_gt=False, min_size=0),
        pipeline={{_base_.demo_plain_train_pipeline}}))
val_dataloader = dict(
    batch_size=8, num_workers=0, persistent_workers=False, pin_memory=False,
    dataset=dict(
        data_root=data_root, ann_file='validation/annotations_coco.json',
        data_prefix=dict(img='validation/'), metainfo=dict(classes=classes),
        pipeline={{_base_.demo_test_pipeline}}))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'validation/annotations_coco.json')
test_evaluator = val_evaluator

train_cfg = dict(
    _delete_=True, type='IterBasedTrainLoop', max_iters=iterations, val_interval=iterations)
optim_wrapper = dict(optimizer=dict(lr=lr))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=30),
    dict(type='CosineAnnealingLR', eta_min=lr * 0.02, by_epoch=False, begin=30, end=iterations),
]
default_hooks = dict(
    logger=dict(interval=25),
    checkpoint=dict(by_epoch=False, interval=iterations, save_last=True, max_keep_ckpts=1))
custom_hooks = []
log_processor = dict(by_epoch=False)
randomness = dict(seed=56)
