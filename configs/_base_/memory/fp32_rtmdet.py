# What computes in float32 under autocast in an RTMDet.
# memory = dict(fp32_modules=_base_.fp32_modules) in a config that inherits this file.
# Only the last layers of the head: assignment, losses and NMS then get float32, and the grid of
# priors, which is of the type of the scores. That is 3 % more activations than without; the whole
# head would be 12 %.
fp32_modules = ['bbox_head.rtm_cls', 'bbox_head.rtm_reg']
