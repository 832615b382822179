# What computes in float32 under autocast in a Deformable DETR of one stage, refined or not.
# memory = dict(fp32_modules=_base_.fp32_modules) in a config that inherits this file.
fp32_modules = [
    # Its CUDA kernel takes no bfloat16, in which its points would be up to 2.6 of 1333 pixels off.
    'MultiScaleDeformableAttention',
    # Boxes, matching and losses; its branches when the decoder refines boxes with them, too.
    'bbox_head',
    # The points where boxes start, which no later layer makes exact again.
    'reference_points_fc',
    # Of its kind are the ratios that scale reference points. On a GPU autocast does this itself.
    r'neck\..*\.gn',
]
