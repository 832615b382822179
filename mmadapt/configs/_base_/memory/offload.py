# For a config whose model has with_cp or num_cp: those blocks, their inputs kept on the CPU.
# Needs the hook too: custom_hooks = [*_base_.get('custom_hooks', []), dict(type='MemoryHook')]
memory = dict(offload=True)
