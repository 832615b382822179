# Encoder and decoder layers of any DETR are recomputed instead of being kept.
# The backbone's own with_cp is honored; without it see checkpoint_swin_detr.py and the like.
# Needs the hook too: custom_hooks = [*_base_.get('custom_hooks', []), dict(type='MemoryHook')]
memory = dict(
    # The classes of Deformable DETR, DAB-DETR, DINO, Mask2Former, ... are subclasses of these.
    checkpoint=['DetrTransformerEncoderLayer', 'DetrTransformerDecoderLayer'],
    every=1,  # 2: every second layer only, which is less to recompute and more to keep
    offload=False)  # True: what is kept of a layer, its inputs, waits on the CPU
