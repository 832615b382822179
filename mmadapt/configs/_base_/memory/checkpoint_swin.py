# Blocks of a Swin backbone are recomputed in the backward pass instead of being kept.
# Needs the hook too: custom_hooks = [*_base_.get('custom_hooks', []), dict(type='MemoryHook')]
memory = dict(
    checkpoint=['SwinBlock'],
    every=1,  # 2: every second block only, which is less to recompute and more to keep
    offload=False)  # True: what is kept of a block, its input, waits on the CPU
