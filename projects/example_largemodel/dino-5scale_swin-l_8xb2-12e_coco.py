# MMDetection's DINO-5scale Swin-L with its blocks and layers recomputed, under DDP.
# ./tools/dist_train.sh projects/example_largemodel/dino-5scale_swin-l_8xb2-12e_coco.py 8 --amp
_base_ = [
    'mmdet::dino/dino-5scale_swin-l_8xb2-12e_coco.py',
    '../../configs/_base_/memory/checkpoint_swin_detr.py',
]
custom_imports = dict(imports=['mmadapt'], allow_failed_imports=False)
custom_hooks = [dict(type='MemoryHook')]
# Backbone, encoder and decoder. Less of it: --cfg-options memory.checkpoint=SwinBlock
memory = dict(fp32_modules='auto')
model = dict(backbone=dict(with_cp=False))  # `memory` says it
