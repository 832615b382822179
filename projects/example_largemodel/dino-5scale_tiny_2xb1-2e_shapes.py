# The same in small: a DINO-5scale Swin of 6.6 M parameters on drawn shapes, two processes, no GPU.
# python projects/example_largemodel/shapes.py
# ./tools/dist_train.sh projects/example_largemodel/dino-5scale_tiny_2xb1-2e_shapes.py 2 --amp
_base_ = './dino-5scale_swin-l_8xb2-12e_coco.py'
classes = ('disc', 'square', 'triangle')
max_epochs = 2

layers = dict(num_layers=3, layer_cfg=dict(ffn_cfg=dict(feedforward_channels=512)))
model = dict(
    num_queries=30,
    backbone=dict(
        embed_dims=24,
        depths=[2, 2, 2, 2],
        num_heads=[1, 2, 4, 8],
        window_size=7,
        init_cfg=None,
        convert_weights=False,
    ),
    neck=dict(in_channels=[24, 48, 96, 192]),
    encoder=layers,
    decoder=layers,
    bbox_head=dict(num_classes=len(classes)),
    dn_cfg=dict(group_cfg=dict(num_dn_queries=10)),
    test_cfg=dict(max_per_img=30),
)

pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(96, 64), keep_ratio=True),
    dict(type='PackDetInputs'),
]
data = dict(
    type='CocoDataset', data_root='data/shapes/', metainfo=dict(classes=classes), pipeline=pipeline
)
loader = dict(batch_size=1, num_workers=0, persistent_workers=False)
train_dataloader = dict(
    loader,
    dataset=dict(
        data, _delete_=True, ann_file='train/annotations_coco.json', data_prefix=dict(img='train/')
    ),
)
val_dataloader = dict(
    loader,
    dataset=dict(
        data,
        _delete_=True,
        ann_file='validation/annotations_coco.json',
        data_prefix=dict(img='validation/'),
        test_mode=True,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file='data/shapes/validation/annotations_coco.json')
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [dict(type='MultiStepLR', milestones=[1], by_epoch=True)]
default_hooks = dict(logger=dict(interval=4), checkpoint=dict(max_keep_ckpts=1))
randomness = dict(seed=56)
