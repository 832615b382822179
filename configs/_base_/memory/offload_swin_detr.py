# As checkpoint_swin_detr.py, and what is kept of the blocks, their inputs, waits on the CPU.
# Needs the hook too: custom_hooks = [*_base_.get('custom_hooks', []), dict(type='MemoryHook')]
memory = dict(
    checkpoint=['SwinBlock', 'DetrTransformerEncoderLayer', 'DetrTransformerDecoderLayer'],
    every=1,
    offload=True)
