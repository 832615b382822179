# As dino-5scale_tiny_2xb1-2e_shapes.py, with DeepSpeed.
# ./tools/dist_train.sh projects/example_largemodel/dino-5scale_tiny_deepspeed_2xb1-2e_shapes.py 2
_base_ = [
    './dino-5scale_tiny_2xb1-2e_shapes.py',
    '../../configs/_base_/strategies/deepspeed_zero2.py',
]
