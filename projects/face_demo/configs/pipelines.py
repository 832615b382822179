# The 192 px pipelines of the demo: no mosaic, no mix-up: they pay in long trainings.
# Defines only names that no stock config has; a leaf binds them.
demo_size = (192, 192)
demo_train_pipeline = [
    dict(type='LoadImageFromFile', backend_args=None),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomResize', scale=demo_size, ratio_range=(0.75, 1.33), keep_ratio=True),
    dict(type='RandomCrop', crop_size=demo_size),
    dict(type='YOLOXHSVRandomAug'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='Pad', size=demo_size, pad_val=dict(img=(114, 114, 114))),
    dict(type='PackDetInputs'),
]
# The base's own scenes are many, so they need no more variety than this.
demo_plain_train_pipeline = [
    dict(type='LoadImageFromFile', backend_args=None),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='YOLOXHSVRandomAug'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
demo_test_pipeline = [
    dict(type='LoadImageFromFile', backend_args=None),
    dict(type='Resize', scale=demo_size, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
