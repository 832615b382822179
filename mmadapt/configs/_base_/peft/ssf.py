# SSF: a scale and a shift for each channel; the cheapest to train, in time and in memory.
# Needs the hook too: custom_hooks = [*_base_.get('custom_hooks', []), dict(type='PEFTInjectHook')]
peft = dict(
    method=dict(type='SSF'),
    targets='auto',
    exclude=[],
    head='auto',
    norm='freeze',
    adapter=None,
    export=None)
