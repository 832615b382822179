"""``adapter_config.json`` as Hugging Face's PEFT writes and reads it."""

import math
import re
from collections.abc import Collection, Mapping
from typing import Any, cast

from torch import nn

from ..adapters import AdapterLayer, DoRA, LoRA, is_linear
from ..adapters.lora_init import WEIGHT_INITS
from ..errors import UserError
from .base_weights import BaseRecord
from .hugging_face import PREFIX, split_key
from .record import AdapterRecord

# What these say is either in the names and shapes of the tensors too, or changes no output.
_READ = (
    'alpha_pattern',
    'auto_mapping',
    'base_model_name_or_path',
    'bias',
    'eva_config',
    'exclude_modules',
    'fan_in_fan_out',
    'inference_mode',
    'init_lora_weights',
    'lora_alpha',
    'lora_dropout',
    'megatron_core',
    'modules_to_save',
    'peft_type',
    'peft_version',
    'qalora_group_size',
    'r',
    'rank_pattern',
    'revision',
    'runtime_config',
    'target_modules',
    'task_type',
    'use_dora',
    'use_rslora',
)
_INITS = (True, False, None, 'gaussian', 'orthogonal', 'eva')
_OTHER_BASE = (
    'which took something out of the base: its layers need another base than yours; '
    "let PEFT's save_pretrained convert it to an ordinary LoRA "
    '(path_initial_model_for_weight_conversion)'
)
_REASONS = dict(
    layers_to_transform='it chooses layers by numbers in their names; list them in target_modules',
    lora_bias='its B has a bias',
    target_parameters='it adapts parameters, not layers',
    trainable_token_indices='it trains single rows of a table',
    layer_replication='it repeats layers of the model',
)
_BUFFERS = ('running_mean', 'running_var', 'num_batches_tracked')


def hf_config(
    model: nn.Module, layers: Mapping[str, AdapterLayer], trained: Collection[str] = ()
) -> dict[str, Any]:
    """Return the settings with which PEFT adapts the same layers in the same way.

    Args:
        model (nn.Module): The adapted model.
        layers (Mapping[str, AdapterLayer]): Its adapted layers, by name; each has a form.
        trained (Collection[str]): Names of the layers that were trained fully.
    """
    methods = {name: cast(LoRA, layer.adapter) for name, layer in layers.items()}
    sizes = {name: _rank_and_alpha(method) for name, method in methods.items()}
    method = next(iter(methods.values()))
    r, alpha = max(sizes.values(), key=list(sizes.values()).count)
    return dict(
        peft_type='LORA',
        task_type=None,
        inference_mode=True,
        base_model_name_or_path=None,
        r=r,
        lora_alpha=alpha,
        lora_dropout=method.dropout,
        use_rslora=method.rslora,
        use_dora=isinstance(method, DoRA),
        init_lora_weights=True,
        bias='none',
        fan_in_fan_out=_hold_weights_turned_round(layers),
        target_modules=_targets(model, list(layers)),
        # A pattern is tried on every suffix that begins after a dot; this one fits the whole alone.
        rank_pattern={
            f'^{re.escape(name)}': rank for name, (rank, _) in sizes.items() if rank != r
        },
        alpha_pattern={
            f'^{re.escape(name)}': value for name, (_, value) in sizes.items() if value != alpha
        },
        modules_to_save=sorted(trained) or None,
    )


def read_hf_config(config: Mapping[str, Any], keys: Collection[str], folder: str) -> AdapterRecord:
    """Return how to adapt a model as a folder of PEFT says.

    Args:
        config (Mapping[str, Any]): The settings.
        keys (Collection[str]): The names of the tensors beside them.
        folder (str): Where they come from, for messages.

    Raises:
        UserError: The settings are damaged, or say something that is not read.
    """
    _check(config, folder)
    adapted = sorted({match[0] for match in map(split_key, keys) if match})
    others = sorted({trained_key(key, config, folder) for key in keys if not split_key(key)})
    trained = [key for key in others if key.rpartition('.')[2] not in _BUFFERS]
    try:
        astray = [name for name in adapted if not _means(config.get('target_modules'), name)]
        sizes = {
            pattern: {name: _of_pattern(config.get(pattern), name) for name in adapted}
            for pattern in ('rank_pattern', 'alpha_pattern')
        }
    except (re.error, TypeError, AttributeError) as error:
        raise UserError(f'{folder}: a pattern in its settings is damaged ({error})') from None
    if config.get('init_lora_weights') is False and any('.lora_embedding_' in key for key in keys):
        raise UserError(
            f'{folder} adapts an embedding that began with init_lora_weights=False, '
            'its padding entry too, which is not read'
        )
    if astray:
        raise UserError(
            f'{folder} adapts {astray[0]}, which its target_modules '
            f'{config["target_modules"]!r} do not mean'
        )
    patterns: dict[str, Any] = {
        pattern: {_exactly(name): value for name, value in values.items() if value is not None}
        for pattern, values in sizes.items()
    }
    try:
        method = (DoRA if config.get('use_dora') else LoRA)(
            config['r'],
            config['lora_alpha'],
            config.get('lora_dropout') or 0.0,
            bool(config.get('use_rslora')),
            **patterns,
        )
    except UserError as error:
        raise UserError(f'{folder}: {error}') from None
    layers = sorted({key.rpartition('.')[0] for key in others})
    plan = dict(
        method=method.to_dict(),
        targets=[_exactly(name) for name in adapted],
        exclude=[],
        head=[_exactly(name) for name in layers] or 'freeze',
        norm='freeze',
    )
    return AdapterRecord(plan, adapted, trained, BaseRecord(), [], from_hf=True)


def trained_key(key: str, config: Mapping[str, Any], folder: str) -> str:
    """Return the state-dict key of a tensor of a fully trained layer.

    Args:
        key (str): The name of a tensor in the folder.
        config (Mapping[str, Any]): Its settings.
        folder (str): The folder, for messages.

    Raises:
        UserError: It belongs to none of ``modules_to_save``.
    """
    saved = tuple(config.get('modules_to_save') or ())
    name = key.removeprefix(PREFIX)
    outer, _, inner = name.partition('.modules_to_save.')  # as the wrapper's own state dict has it
    name = f'{outer}.{inner}' if inner and outer.endswith(saved) else name
    parts = name.split('.')[:-1]
    if key.startswith(PREFIX) and any(
        '.'.join(parts[:end]).endswith(saved) for end in range(1, len(parts) + 1)
    ):
        return name
    if '.base_layer.' in key:
        raise UserError(
            f'{folder} holds {key}, a tensor inside an adapted layer (a bias or a '
            'table saved with it, or a MultiheadAttention), which is not read'
        )
    if key.startswith('mmadapt.'):
        raise UserError(f'{folder} holds {key}, but its settings lack what mmadapt wrote there')
    raise UserError(
        f'{folder} holds {key}, which has no meaning here: it is neither a tensor of '
        f'LoRA or DoRA nor one of modules_to_save={list(saved)}'
    )


def _check(config: Mapping[str, Any], folder: str) -> None:
    said = {name: None for name in ('r', 'lora_alpha') if config.get(name) is None}
    said.update({name: value for name, value in config.items() if value and name not in _READ})
    reasons = dict(_REASONS)
    if config.get('peft_type') != 'LORA':
        said['peft_type'] = config.get('peft_type')
    if config.get('bias') not in ('none', None):
        said['bias'], reasons['bias'] = config['bias'], 'it trains biases of the base as well'
    if config.get('init_lora_weights') not in _INITS:
        # Some of these subtract from the base what they start from, which is then another one.
        said['init_lora_weights'] = config['init_lora_weights']
        reasons['init_lora_weights'] = _OTHER_BASE
    if said:
        raise UserError(
            f'{folder} was written by another program and says '
            + ', '.join(
                f'{name}={value!r}' + (f' ({reasons[name]})' if name in reasons else '')
                for name, value in said.items()
            )
            + ', which is not read'
        )


def _hold_weights_turned_round(layers: Mapping[str, AdapterLayer]) -> bool:
    # Of all layers that have the choice; where they differ, PEFT corrects it layer by layer.
    linear = [layer for layer in layers.values() if is_linear(layer)]
    return bool(linear) and all(not isinstance(layer, nn.Linear) for layer in linear)


def _rank_and_alpha(method: LoRA) -> tuple[int, float]:
    """Return what is the same as the method's, where its first values are told as a second LoRA."""
    if method.init not in WEIGHT_INITS:
        return method.r, method.alpha
    return 2 * method.r, method.alpha * (math.sqrt(2) if method.rslora else 2)


def _targets(model: nn.Module, targets: list[str]) -> list[str] | str:
    # PEFT takes each name for a suffix too; where that would hit more, it is given one pattern.
    suffixes = tuple(f'.{target}' for target in targets)
    if any(name.endswith(suffixes) for name, _ in model.named_modules()):
        return '|'.join(map(re.escape, targets))
    return targets


def _means(targets: Any, name: str) -> bool:
    """Return whether PEFT takes a layer for one of its targets."""
    if targets is None or targets == 'all-linear':
        return True
    if isinstance(targets, str):
        return re.fullmatch(targets, name) is not None
    return any(name == target or name.endswith(f'.{target}') for target in targets)


def _of_pattern(values: Mapping | None, name: str) -> Any:
    """Return what PEFT's ``rank_pattern`` or ``alpha_pattern`` says of a layer; None if nothing."""
    return next(
        (
            value
            for pattern, value in (values or {}).items()
            if re.match(rf'(.*\.)?({pattern})$', name)
        ),
        None,
    )


def _exactly(name: str) -> str:
    """Return a pattern, never taken for a suffix, that fits one name."""
    return f'(?:{re.escape(name)})'
