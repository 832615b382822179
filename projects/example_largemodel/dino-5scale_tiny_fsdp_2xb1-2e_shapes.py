# As dino-5scale_tiny_2xb1-2e_shapes.py, with FSDP2.
# ./tools/dist_train.sh projects/example_largemodel/dino-5scale_tiny_fsdp_2xb1-2e_shapes.py 2 --amp
_base_ = ['./dino-5scale_tiny_2xb1-2e_shapes.py', '../../configs/_base_/strategies/fsdp2.py']
