# As checkpoint_swin_detr.py, and what is kept of the blocks, their inputs, waits on the CPU.
# Needs the hook too: custom_hooks = [*_base_.get('custom_hooks', []), dict(type='MemoryHook')]
_base_ = './checkpoint_swin_detr.py'
memory = dict(offload=True)
