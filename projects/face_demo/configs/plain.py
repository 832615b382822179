# The stock model on the sample's validation faces. Nothing in here knows mmadapt: a merged
# checkpoint is read with it as anyone without mmadapt would read it.
_base_ = ['mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py', './pipelines.py']

data_root = 'data/face_demo/'
classes = ('face',)

model = dict(backbone=dict(init_cfg=None), bbox_head=dict(num_classes=len(classes)))
test_dataloader = dict(
    batch_size=8, num_workers=0, persistent_workers=False, pin_memory=False,
    dataset=dict(
        data_root=data_root, ann_file='validation/annotations_coco.json',
        data_prefix=dict(img='validation/'), metainfo=dict(classes=classes),
        pipeline={{_base_.demo_test_pipeline}}))
test_evaluator = dict(ann_file=data_root + 'validation/annotations_coco.json')
custom_hooks = []
