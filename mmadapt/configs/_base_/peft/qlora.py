# QLoRA: LoRA on a base whose frozen Linear layers are kept in 4 bits by bitsandbytes, on a CPU too.
# Needs the hook too: custom_hooks = [*_base_.get('custom_hooks', []), dict(type='PEFTInjectHook')]
peft = dict(
    method=dict(type='LoRA', r=32, alpha=16, dropout=0.1),  # 'DoRA': QDoRA; 'SSF': quantized SSF
    targets='all-linear',  # for models with Linear layers: Swin, ViT, DETR
    exclude=[],
    head='auto',
    norm='freeze',
    quant=dict(
        bits=4,  # or dict(bits=8, threshold=6.0, has_fp16_weights=False, skip=[])
        type='nf4',
        compute_dtype=None,  # that of the input or of autocast; 'float16', 'bfloat16', 'float32'
        double_quant=True,
        skip=[]),  # what stays dense, by the grammar of `targets`
    adapter=None,
    export=None)
