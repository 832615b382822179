# LoRA on every Linear and convolution outside the prediction layers; the rest of the model frozen.
# Needs the hook too: custom_hooks = [*_base_.get('custom_hooks', []), dict(type='PEFTInjectHook')]
peft = dict(
    method=dict(type='LoRA', r=32, alpha=16, dropout=0.1),
    targets='auto',
    exclude=[],
    head='auto',  # 'train' fully, 'adapt', 'freeze'; 'auto': train a one-stage head, adapt others
    norm='freeze',
    adapter=None,  # an adapter folder to start from, or to evaluate
    export=None)  # 'state_dict': also leave the merged model, which needs no mmadapt
