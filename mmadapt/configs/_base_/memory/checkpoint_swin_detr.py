# A DETR with a Swin backbone: its blocks and all layers of encoder and decoder are recomputed.
# Needs the hook too: custom_hooks = [*_base_.get('custom_hooks', []), dict(type='MemoryHook')]
memory = dict(
    checkpoint=['SwinBlock', 'DetrTransformerEncoderLayer', 'DetrTransformerDecoderLayer'],
    every=1,  # 2: every second block only, which is less to recompute and more to keep
    offload=False)  # True: what is kept of a block, its inputs, waits on the CPU
