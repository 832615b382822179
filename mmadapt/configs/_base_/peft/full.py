# Everything trains, norm statistics included, as without mmadapt. What LoRA is to be compared with.
# Needs the hook too: custom_hooks = [*_base_.get('custom_hooks', []), dict(type='PEFTInjectHook')]
peft = dict(method=None, targets='all', exclude=[], head='train', norm='train', export=None)
