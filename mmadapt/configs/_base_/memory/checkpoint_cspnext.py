# Stages and neck of RTMDet are recomputed in the backward pass instead of being kept.
# Needs the hook too: custom_hooks = [*_base_.get('custom_hooks', []), dict(type='MemoryHook')]
memory = dict(
    checkpoint=[r'backbone\.stage\d', 'CSPLayer'],
    every=1,
    offload=False)  # True: what is kept of a stage, its input, waits on the CPU
