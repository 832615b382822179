"""From what a config says of DeepSpeed to what deepspeed 0.19 is to be told.

Configs of the years before use settings that it has removed, and some that it still takes but that
a detector cannot be trained with. Where there is one thing they can mean, that is taken, and said;
otherwise the error names what to write.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch

from ...errors import UserError
from ...optim import autocast_dtype
from ...values import check_keys, check_one_of

AUTOCAST = dict(enabled=True, dtype='bfloat16')
NO_FLOAT16 = (
    "DeepSpeed clips gradients before it takes float16's loss scale out of them, and its "
    'processes skip steps each for itself'
)
INSTEAD = (
    'strategy.torch_autocast=dict(enabled=False), or train with mmadapt.DDPStrategy or '
    'mmadapt.FSDP2Strategy'
)
# What else may stand in `config`: it changes neither what is computed nor what is saved.
_OTHERS = (
    'dump_state',
    'wall_clock_breakdown',
    'memory_breakdown',
    'comms_logger',
    'tensorboard',
    'flops_profiler',
    'wandb',
    'csv_monitor',
    'disable_python_gc',
    'steps_per_print',
)
_OURS = ('zero_optimization', 'torch_autocast', 'gradient_clipping', 'gradient_accumulation_steps')
# Of no effect here, and why.
_DROPPED = dict(
    inputs_to_half='autocast casts what is computed with',
    exclude_frozen_parameters='with `peft` a checkpoint holds what is trained',
    train_batch_size='it follows from train_dataloader.batch_size and the number of processes',
    train_micro_batch_size_per_gpu='it is train_dataloader.batch_size',
    zero_allow_untested_optimizer='what does not work is refused by itself',
    zero_force_ds_cpu_optimizer='the optimizer is the one in optim_wrapper, offloaded or not',
)
_REFUSED = dict(
    fp16="strategy.fp16 casts every parameter to float16, in which a DETR's boxes have infinite "
    "gradients; write torch_autocast=dict(enabled=True, dtype='bfloat16') instead of it",
    amp='strategy.amp is Apex, which DeepSpeed has removed; write torch_autocast=dict(enabled='
    "True, dtype='bfloat16') instead of it",
    activation_checkpointing='strategy.activation_checkpointing has no effect on models that do '
    "not call DeepSpeed's own; write memory=dict(checkpoint=[...]) at the "
    "config's top instead of it",
    optimizer='strategy.config.optimizer: write it as optim_wrapper.optimizer',
    scheduler='strategy.config.scheduler: write it as param_scheduler',
)
_OFFLOADS = dict(
    cpu_offload='offload_optimizer',
    cpu_offload_param='offload_param',
    cpu_offload_params='offload_param',
)
# Removed or without effect, because checkpoints are gathered in any case.
_ZERO_DROPPED = (
    'cpu_offload_use_pin_memory',
    'stage3_gather_fp16_weights_on_model_save',
    'stage3_gather_16bit_weights_on_model_save',
    'gather_16bit_weights_on_model_save',
    'elastic_checkpoint',
    'load_from_fp32_weights',
)


def parse_settings(config: str | Mapping | None, sections: Mapping) -> tuple[dict, list[str]]:
    """Read the arguments of the strategy.

    Args:
        config (str or dict, optional): DeepSpeed's configuration, or a JSON file of it.
        sections (dict): Parts of it that are arguments of their own; they come before those in
            ``config``.

    Returns:
        tuple[dict, list[str]]: DeepSpeed's configuration, and what the log is to say of it.

    Raises:
        UserError: Something in it is unknown, or cannot be used for training a detector.
    """
    given = {**_read(config), **{k: v for k, v in sections.items() if v is not None}}
    said: list[str] = []
    for key, message in _REFUSED.items():
        section = given.pop(key, None)
        # An empty or a disabled section, as in configs that list all of them, asks for nothing.
        if section and not (isinstance(section, Mapping) and section.get('enabled') is False):
            raise UserError(message)
    _translate_bf16(given, said)
    for key, reason in _DROPPED.items():
        if given.pop(key, None) is not None:
            said.append(f'strategy.{key} is not needed and left out: {reason}')
    check_keys('strategy', given, (*_OURS, *_OTHERS), owner=' under DeepSpeedStrategy')
    zero = given.get('zero_optimization', dict(stage=2))
    return {
        'zero_allow_untested_optimizer': True,
        'zero_force_ds_cpu_optimizer': False,
        **given,
        'zero_optimization': _parse_zero(zero, said),
        'torch_autocast': _parse_autocast(given.get('torch_autocast', AUTOCAST)),
    }, said


def require_bfloat16(who: str) -> None:
    """Check that there is a precision that DeepSpeed can do autocast in.

    Args:
        who (str): What asks for autocast, and what to do about it.

    Raises:
        UserError: This GPU only emulates bfloat16, many times slower than float32.
    """
    if autocast_dtype() == torch.float16:
        raise UserError(
            f'{who} {INSTEAD}: this {torch.cuda.get_device_name()} does not compute in '
            f'bfloat16, and in float16 {NO_FLOAT16}'
        )


def _read(config: str | Mapping | None) -> dict:
    if isinstance(config, str):
        if not Path(config).is_file():
            raise UserError(f'strategy.config: there is no file {config}')
        try:
            config = json.loads(Path(config).read_text())
        except ValueError as error:
            raise UserError(f'strategy.config: {config} is not JSON: {error}') from None
    if not config:
        return {}
    if not isinstance(config, Mapping):
        raise UserError(
            f'strategy.config must be a dict or the name of a JSON file, got {config!r}'
        )
    return dict(config)


def _translate_bf16(given: dict, said: list[str]) -> None:
    section = given.pop('bf16', None)
    if not section or not section.get('enabled'):
        return
    given.setdefault('torch_autocast', AUTOCAST)
    said.append(
        'strategy.bf16 would cast every parameter, those of boxes too: '
        f'torch_autocast={AUTOCAST} is taken instead of it'
    )


def _parse_autocast(section: Mapping) -> dict:
    section = dict(section)
    if not section.get('enabled', False):
        return dict(enabled=False)
    dtype = str(section.get('dtype', 'bfloat16')).removeprefix('torch.')
    if dtype != 'bfloat16':
        raise UserError(
            f"strategy.torch_autocast.dtype={dtype!r}: {NO_FLOAT16}; write 'bfloat16', {INSTEAD}"
        )
    # By default ZeRO-3 hands out, and gradients are averaged, rounded to bfloat16: those of
    # float32 islands too, as modules are chosen by their class alone.
    return {'lower_precision_safe_modules': [], **section, 'dtype': dtype}


def _parse_zero(section: Mapping, said: list[str]) -> dict:
    zero = {key: _whole_number(value) for key, value in dict(section).items()}
    stage = zero.get('stage')
    check_one_of(
        'strategy.zero_optimization.stage',
        stage,
        (1, 2, 3),
        "; without sharding: strategy=dict(type='mmadapt.DDPStrategy')",
    )
    for old, new in _OFFLOADS.items():
        if zero.pop(old, False):
            zero.setdefault(new, dict(device='cpu'))
            said.append(f"strategy.zero_optimization.{old} is now {new}=dict(device='cpu')")
    for key in _ZERO_DROPPED:
        if zero.pop(key, None) is not None:
            said.append(f'strategy.zero_optimization.{key} is not needed and left out')
    for key in ('offload_optimizer', 'offload_param'):
        device = (zero.get(key) or {}).get('device', 'none')
        check_one_of(f'strategy.zero_optimization.{key}.device', device, ('none', 'cpu'))
        if key == 'offload_param' and device == 'cpu' and stage != 3:
            raise UserError(
                'strategy.zero_optimization.offload_param needs stage=3; in stage '
                f'{stage} parameters are not sharded'
            )
    return zero


def _whole_number(value):
    """Return an int for a size that is written as ``2e8`` or ``'2e8'``."""
    if isinstance(value, Mapping):
        return {key: _whole_number(item) for key, item in value.items()}
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return value
    return int(value) if isinstance(value, float) and value == int(value) else value
