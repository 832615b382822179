# As dino-5scale_swin-l_8xb2-12e_coco.py, all that a process holds sharded by FSDP2.
# ./tools/dist_train.sh projects/example_largemodel/dino-5scale_swin-l_fsdp_8xb2-12e_coco.py 8 --amp
_base_ = ['./dino-5scale_swin-l_8xb2-12e_coco.py', '../../configs/_base_/strategies/fsdp2.py']
