# As dino-5scale_swin-l_8xb2-12e_coco.py: MMDetection's trained detector, adapted with LoRA.
# ./tools/dist_train.sh projects/example_largemodel/dino-5scale_swin-l_lora_8xb2-12e_coco.py 8 --amp
_base_ = ['./dino-5scale_swin-l_8xb2-12e_coco.py', '../../configs/_base_/peft/lora.py']
custom_hooks = [dict(type='PEFTInjectHook'), dict(type='MemoryHook')]
load_from = 'https://download.openmmlab.com/mmdetection/v3.0/dino/dino-5scale_swin-l_8xb2-12e_coco/dino-5scale_swin-l_8xb2-12e_coco_20230228_072924-a654145f.pth'  # noqa: E501
# That checkpoint holds the backbone too, so its ImageNet weights need not be fetched.
model = dict(backbone=dict(init_cfg=None, convert_weights=False))
peft = dict(method=dict(dropout=0.0))  # its masks would take 5 GiB where nothing is recomputed
# Adapters begin at nothing: a rate to begin with, in the backbone too, for data of your own.
optim_wrapper = dict(
    optimizer=dict(lr=5e-4), paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=1.0)))
)
