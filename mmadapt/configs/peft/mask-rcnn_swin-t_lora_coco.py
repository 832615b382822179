# Mask R-CNN with Swin-T and LoRA: what any stock config needs to become a PEFT config.
# mmadapt train mask-rcnn_swin-t_lora_coco.py
_base_ = ['mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py', '../_base_/peft/lora.py']
custom_imports = dict(imports=['mmadapt'], allow_failed_imports=False)
custom_hooks = [*_base_.get('custom_hooks', []), dict(type='PEFTInjectHook')]

load_from = 'https://download.openmmlab.com/mmdetection/v2.0/swin/mask_rcnn_swin-t-p4-w7_fpn_1x_coco/mask_rcnn_swin-t-p4-w7_fpn_1x_coco_20210902_120937-9d6b7cfa.pth'  # noqa: E501
# That checkpoint holds the backbone too, so its ImageNet weights need not be fetched.
model = dict(backbone=dict(init_cfg=None))
