"""The keys of nyuntam_adapt's jobs: what each of them may say, and what counts where it is absent.

Names and defaults are those of its documentation.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import UserError
from ..values import (
    check_count,
    check_dict,
    check_flag,
    check_list,
    check_number,
    check_one_of,
    check_text,
    is_number,
)

_Read = Callable[[str, Any], Any]


@dataclass(frozen=True)
class Key:
    """A key of a job.

    Args:
        read (Callable): Returns its value from its name and what the file says; raises a
            ``UserError``.
        default: What counts where the job does not have it.
        is_text (bool): Whether digits and words such as ``true`` are text in it.
    """

    read: _Read
    default: Any = None
    is_text: bool = False


def flag(where: str, value) -> bool:
    """True or False."""
    check_flag(where, value)
    return value


def _text(where: str, value) -> str:
    """Text of one line: it is written into a config, and into its comments."""
    if is_number(value):
        value = str(value)  # a folder or a job may be called 100
    check_text(where, value, 'text')
    if not value.isprintable():
        raise UserError(f'{where} must be text of one line, got {value!r}')
    if '{{' in value:
        raise UserError(f'{where} has {{{{, which MMEngine replaces in a config: {value!r}')
    return value


def _count(least: int) -> _Read:
    def read(where: str, value) -> int:
        whole = int(value) if isinstance(value, float) and value.is_integer() else value
        check_count(where, whole, least)
        return whole

    return read


def _number(allowed: Callable[[float], bool], what: str) -> _Read:
    def read(where: str, value) -> float:
        check_number(where, value, lambda v: math.isfinite(v) and allowed(v), what)
        return value

    return read


def _one_of(*words: str) -> _Read:
    """One of several words, in capitals or not."""

    def read(where: str, value) -> str:
        # YAML reads a bare `no` as False, and `yes` as True.
        text = {False: 'no', True: 'yes'}.get(value, value) if value in (True, False) else value
        text = str(text)
        found = next((word for word in words if word.lower() == text.lower()), text)
        check_one_of(where, found, words)
        return found

    return read


def _names(where: str, value) -> list[str]:
    """A list of names, or names divided by commas."""
    if isinstance(value, str):
        value = [name.strip() for name in value.split(',') if name.strip()]
    check_list(where, value, (str, int, float), 'names')
    return [_text(where, str(name)) for name in value]


def _whole_numbers(where: str, value) -> list[int]:
    if is_number(value):
        value = [value]
    elif isinstance(value, str):
        value = [int(part) if part.strip().isdigit() else part for part in value.split(',')]
    check_list(where, value, (int, float), 'whole numbers')
    read = _count(1)
    return [read(where, one) for one in value]


def _colors(where: str, value) -> list[tuple[int, int, int]]:
    check_list(where, value, (list, tuple), 'colors such as [128, 64, 128]')
    for color in value:
        check_list(where, color, (int,), 'colors such as [128, 64, 128]', least=3)
        if len(color) != 3 or any(isinstance(c, bool) or not 0 <= c <= 255 for c in color):
            raise UserError(f'{where} takes three numbers from 0 to 255 a color; got {color!r}')
    return [tuple(color) for color in value]


def _options(where: str, value) -> dict | bool:
    if isinstance(value, bool):
        return value
    check_dict(where, value, 'model.backbone.frozen_stages: 1')
    for key, one in value.items():
        parts = key.split('.') if isinstance(key, str) else ['']
        if not all(part.isidentifier() or part.isdigit() for part in parts) or parts[0][:1] == '_':
            raise UserError(
                f'{where}: {key!r} is no place in a config, such as train_cfg.max_epochs'
            )
        _check_literal(f'{where}: {key}', one)
    return dict(value)


def _check_literal(where: str, value) -> None:
    """Check that a value means the same where it is written as Python."""
    if isinstance(value, (list, tuple)):
        for item in value:
            _check_literal(where, item)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_literal(where, key)
            _check_literal(where, item)
    elif isinstance(value, str):
        if '{{' in value:
            raise UserError(f'{where} has {{{{, which MMEngine replaces in a config: {value!r}')
    elif not isinstance(value, (int, float, type(None))) or not math.isfinite(value or 0):
        raise UserError(f'{where}: {value!r} is no number, text, list or dict')


def _keywords(where: str, value) -> dict:
    check_dict(where, value, 'num_cycles: 2')
    _options(where, value)
    return dict(value)


def _path_or_flag(where: str, value) -> str | bool:
    if str(value).lower() in ('true', 'false'):
        return str(value).lower() == 'true'
    return _text(where, value)


def _devices(where: str, value) -> str:
    text = _text(where, value)
    for part in text.split(','):
        if not part.strip().isdigit() and not part.strip().startswith(('GPU-', 'MIG-')):
            raise UserError(f'{where} takes numbers of GPUs such as 0,1; got {value!r}')
    return text


def _modules(where: str, value) -> list[str] | str:
    return value if value in ('all-linear', 'all', 'auto') else _names(where, value)


_POSITIVE = _number(lambda value: value > 0, 'a number above 0')
_SHARE = _number(lambda value: 0 <= value < 1, 'a number from 0 to below 1')
_NOT_NEGATIVE = _number(lambda value: value >= 0, 'a number of at least 0')
_FLAG, _TEXT = Key(flag), Key(_text, is_text=True)

KEYS: dict[str, Key] = {
    # The job.
    'JOB_SERVICE': Key(_one_of('Adapt')),
    'TASK': _TEXT,
    'subtask': _TEXT,
    'Library': _TEXT,
    'OUTPUT_DIR': _TEXT,
    'LOGGING_PATH': _TEXT,
    'work_dir': _TEXT,
    # The data.
    'CUSTOM_DATASET_PATH': _TEXT,
    'TRAIN_DIR': _TEXT,
    'VAL_DIR': _TEXT,
    'TEST_DIR': _TEXT,
    'train_ann_file': _TEXT,
    'val_ann_file': _TEXT,
    'class_list': Key(_names, is_text=True),
    'palette': Key(_colors),
    # The model.
    'MODEL': _TEXT,
    'MODEL_PATH': _TEXT,
    'LOCAL_MODEL_PATH': _TEXT,
    'CACHE_BOOL': _FLAG,
    'dest_root': _TEXT,
    'load_model': _FLAG,
    'model_path': _TEXT,
    'model_type': _TEXT,
    'image_processor_path': _TEXT,
    # The training.
    'SEED': Key(_count(0)),
    'DO_TRAIN': Key(flag, True),
    'DO_EVAL': Key(flag, True),
    'NUM_WORKERS': Key(_count(0), 4),
    'BATCH_SIZE': Key(_count(1), 16),
    'EPOCHS': Key(_count(1), 2),
    'OPTIMIZER': Key(_text, 'adamw_torch', is_text=True),
    'LR': Key(_POSITIVE, 1e-4),
    'WEIGHT_DECAY': Key(_NOT_NEGATIVE, 0.0),
    'BETA1': Key(_SHARE, 0.9),
    'BETA2': Key(_SHARE, 0.999),
    'ADAM_EPS': Key(_POSITIVE, 1e-8),
    'SCHEDULER_TYPE': Key(_text, 'linear', is_text=True),
    'lr_scheduler_kwargs': Key(_keywords),
    'BEGIN': Key(_count(0), 0),
    'END': Key(_count(1)),
    'T_MAX': Key(_count(0), 0),
    'WARMUP': Key(flag, False),
    'WARMUP_RATIO': Key(_number(lambda value: 0 < value <= 1, 'a number above 0, up to 1'), 0.1),
    'WARMUP_ITERS': Key(_count(1), 50),
    'MILESTONES': Key(_whole_numbers),
    'GAMMA': Key(_POSITIVE, 0.1),
    'INTERVAL': Key(_one_of('epoch', 'steps', 'step', 'epochs'), 'epoch'),
    'INTERVAL_STEPS': Key(_count(1), 100),
    'checkpoint_interval': Key(_count(1), 5),
    'NO_OF_CHECKPOINTS': Key(_count(1), 5),
    'FP16': Key(flag, False),
    'amp': Key(flag, False),
    'GRADIENT_ACCUMULATION_STEPS': Key(_count(1), 1),
    'GRADIENT_CHECKPOINTING': Key(flag, False),
    'RESUME_FROM_CHECKPOINT': Key(_path_or_flag, False, is_text=True),
    'resume': Key(_path_or_flag, False, is_text=True),
    'auto_scale_lr': Key(flag, False),
    'cfg_options': Key(_options),
    'launcher': Key(_one_of('none', 'pytorch', 'slurm', 'mpi')),
    # What is adapted.
    'PEFT_METHOD': Key(_one_of('LoRA', 'DoRA', 'SSF')),
    'method': Key(_one_of('LoRA', 'DoRA', 'SSF')),
    'peft_type': _TEXT,
    'LAST_LAYER_TUNING': _FLAG,
    'FULL_FINE_TUNING': _FLAG,
    'auto_select_modules': _FLAG,
    'target_modules': Key(_modules, is_text=True),
    'r': Key(_count(1)),
    'alpha': Key(_POSITIVE),
    'dropout': Key(_SHARE, 0.1),
    'fan_in_fan_out': Key(flag, False),
    'init_lora_weights': Key(_path_or_flag, True, is_text=True),
    'MERGE_ADAPTER': _FLAG,
    'SAVE_METHOD': Key(
        _one_of('state_dict', 'full_torch_model', 'safetensors', 'save_pretrained'), 'state_dict'
    ),
    # Quantized bases.
    'load_in_4bit': Key(flag, False),
    'bnb_4bit_compute_dtype': Key(_one_of('float16', 'bfloat16', 'float32'), 'float16'),
    'bnb_4bit_quant_type': Key(_one_of('nf4', 'fp4'), 'nf4'),
    'bnb_4bit_use_double_quant': Key(flag, False),
    'load_in_8bit': Key(flag, False),
    'llm_int8_threshold': Key(_NOT_NEGATIVE, 6.0),
    'llm_int8_skip_modules': Key(_names, is_text=True),
    'llm_int8_enable_fp32_cpu_offload': Key(flag, False),
    'llm_int8_has_fp16_weight': Key(flag, False),
    # Processes.
    'cuda_id': Key(_devices, is_text=True),
    'DDP': _FLAG,
    'num_nodes': Key(_count(1)),
    'FSDP': _FLAG,
    'compute_environment': _TEXT,
    'debug': Key(flag, False),
    'distributed_type': _TEXT,
    'downcast_bf16': Key(_one_of('no', 'yes')),
    'fsdp_auto_wrap_policy': Key(
        _one_of('TRANSFORMER_BASED_WRAP', 'SIZE_BASED_WRAP', 'NO_WRAP'), 'TRANSFORMER_BASED_WRAP'
    ),
    'fsdp_backward_prefetch_policy': Key(
        _one_of('BACKWARD_PRE', 'BACKWARD_POST', 'NO_PREFETCH'), 'BACKWARD_PRE'
    ),
    'fsdp_forward_prefetch': Key(flag, False),
    'fsdp_cpu_ram_efficient_loading': Key(flag, True),
    'fsdp_offload_params': Key(flag, False),
    'fsdp_sharding_strategy': Key(
        _one_of('FULL_SHARD', 'SHARD_GRAD_OP', 'NO_SHARD', 'HYBRID_SHARD', 'HYBRID_SHARD_ZERO2'),
        'FULL_SHARD',
    ),
    'fsdp_state_dict_type': Key(
        _one_of('SHARDED_STATE_DICT', 'FULL_STATE_DICT', 'LOCAL_STATE_DICT'), 'SHARDED_STATE_DICT'
    ),
    'fsdp_sync_module_states': Key(flag, True),
    'fsdp_use_orig_params': Key(flag, True),
    'machine_rank': Key(_count(0), 0),
    'main_training_function': _TEXT,
    'mixed_precision': Key(_one_of('no', 'fp16', 'bf16'), 'bf16'),
    'num_machines': Key(_count(1)),
    'num_processes': Key(_count(1)),
    'rdzv_backend': _TEXT,
    'same_network': _FLAG,
    'tpu_env': Key(_names, is_text=True),
    'tpu_use_cluster': _FLAG,
    'tpu_use_sudo': _FLAG,
    'use_cpu': Key(flag, False),
    # Text.
    'packing': _FLAG,
    'dataset_text_field': _TEXT,
    'max_seq_length': Key(_count(1)),
    'flash_attention2': _FLAG,
    'MAX_TRAIN_SAMPLES': Key(_count(1)),
    'MAX_EVAL_SAMPLES': Key(_count(1)),
    'max_input_length': Key(_count(1)),
    'max_target_length': Key(_count(1)),
    'eval_metric': _TEXT,
    'generation_max_length': Key(_count(1)),
    'source_lang': _TEXT,
    'target_lang': _TEXT,
    'PREFIX': _TEXT,
    'max_answer_length': Key(_count(1)),
    'max_length': Key(_count(1)),
    'doc_stride': Key(_count(1)),
}

TEXT_KEYS = [*KEYS][[*KEYS].index('packing') :] + ['subtask']
