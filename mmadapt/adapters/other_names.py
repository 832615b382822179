"""What keys are called here that Hugging Face's PEFT, or another place of ``peft``, has."""

from collections.abc import Collection

_PLACES = {
    'rank': 'peft.method.r',
    'lora_r': 'peft.method.r',
    'lora_rank': 'peft.method.r',
    'lora_alpha': 'peft.method.alpha',
    'lora_dropout': 'peft.method.dropout',
    'channel_dropout': "peft.method.dropout_mode='channel'",
    'dropout_type': 'peft.method.dropout_mode',
    'use_rslora': 'peft.method.rslora',
    'init_lora_weights': 'peft.method.init',
    'freeze_a': 'peft.method.freeze_A=True',
    'freeze_lora_A': 'peft.method.freeze_A=True',
    'lora_fa': 'peft.method.freeze_A=True',
    'use_fa': 'peft.method.freeze_A=True',
    'use_lora_fa': 'peft.method.freeze_A=True',
    'use_dora': "peft.method.type='DoRA'",
    'peft_type': 'peft.method.type',
    'target_modules': 'peft.targets',
    'target_parameters': 'peft.targets',
    'layers_to_transform': 'peft.targets, as a regular expression,',
    'layers_pattern': 'peft.targets, as a regular expression,',
    'exclude_modules': 'peft.exclude',
    'modules_to_save': 'peft.head, a list of layers,',
    'base_model_name_or_path': 'load_from, beside peft,',
    'quantization_config': 'peft.quant',
    'load_in_4bit': 'peft.quant.bits=4',
    'load_in_8bit': 'peft.quant.bits=8',
    **{
        name: f'peft.{name}'
        for name in (
            'targets',
            'exclude',
            'head',
            'norm',
            'fold_norm',
            'quant',
            'adapter',
            'base',
            'export',
            'keep_classes',
            'allow_random_base',
        )
    },
    **{
        name: f'peft.method.{name}'
        for name in (
            'type',
            'r',
            'alpha',
            'dropout',
            'dropout_mode',
            'rslora',
            'init',
            'freeze_A',
            'rank_pattern',
            'alpha_pattern',
            'attention',
            'compute',
        )
    },
    **{name: f'peft.quant.{name}' for name in ('bits', 'double_quant', 'compute_dtype')},
}
_LEAVE_OUT = {
    'bias': 'biases of adapted layers stay frozen',
    'fan_in_fan_out': 'it follows from the class of a layer',
    'task_type': 'it follows from the model',
    'inference_mode': 'a runner that tests trains nothing',
}


def other_names(arguments: Collection[str]) -> dict[str, str]:
    """Return what to say of keys that are none here, by key.

    Args:
        arguments (Collection[str]): The arguments of the method at hand, if there is one.
    """
    known = {
        key: f'it is written {place} here'
        for key, place in _PLACES.items()
        if not place.startswith('peft.method.')
        or not arguments
        or place.split('.')[2].partition('=')[0] in (*arguments, 'type')
    }
    return {**known, **{key: f'leave it out: {why}' for key, why in _LEAVE_OUT.items()}}
