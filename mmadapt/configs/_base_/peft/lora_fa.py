# LoRA-FA: LoRA whose A stays as it was drawn, so that layers keep r channels, not their inputs.
# Needs the hook too: custom_hooks = [*_base_.get('custom_hooks', []), dict(type='PEFTInjectHook')]
peft = dict(
    method=dict(type='LoRA', r=32, alpha=16, dropout=0., freeze_A=True),
    targets='auto',
    exclude=[],
    head='auto',
    norm='freeze',
    adapter=None,
    export=None)
