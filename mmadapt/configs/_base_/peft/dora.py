# DoRA: LoRA for the direction of each output channel and a trained length. Costs a little more.
# Needs the hook too: custom_hooks = [*_base_.get('custom_hooks', []), dict(type='PEFTInjectHook')]
peft = dict(
    method=dict(type='DoRA', r=16, alpha=16, dropout=0.),
    targets='auto',
    exclude=[],
    head='auto',
    norm='freeze',
    adapter=None,
    export=None)
