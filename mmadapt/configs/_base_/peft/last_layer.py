# Only the head trains; everything before it is frozen. What LoRA is to be compared with.
# Needs the hook too: custom_hooks = [*_base_.get('custom_hooks', []), dict(type='PEFTInjectHook')]
peft = dict(method=None, targets='auto', exclude=[], head='train', norm='freeze', export=None)
