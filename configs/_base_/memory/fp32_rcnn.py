# What computes in float32 under autocast in a Faster, Mask or Cascade R-CNN.
# memory = dict(fp32_modules=_base_.fp32_modules) in a config that inherits this file.
fp32_modules = [
    # The last layers of the heads: proposals, assignment, losses and NMS then get float32.
    r'.*\.(rpn_cls|rpn_reg|fc_cls|fc_reg|conv_logits)',
    # RoIAlign's kernels take no bfloat16, to which the extractor would also round the proposals.
    'BaseRoIExtractor',
    # With deformable convolutions 'DeformConv2d' or 'ModulatedDeformConv2d' too, for the same.
]
