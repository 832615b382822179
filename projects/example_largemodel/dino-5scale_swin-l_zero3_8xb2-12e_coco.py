# As dino-5scale_swin-l_8xb2-12e_coco.py, with DeepSpeed: ZeRO-3, in bfloat16.
# ./tools/dist_train.sh projects/example_largemodel/dino-5scale_swin-l_zero3_8xb2-12e_coco.py 8
_base_ = [
    './dino-5scale_swin-l_8xb2-12e_coco.py',
    '../../configs/_base_/strategies/deepspeed_zero3.py',
]
