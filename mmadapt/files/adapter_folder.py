"""Adapters as folders: ``adapter_config.json`` and ``adapter_model.safetensors``.

The names and shapes are those of Hugging Face's PEFT, which opens a folder whose layers all have a
form there. What has none (layers that train fully, norm statistics) stands under our own keys, and
the record beside the usual settings says how to rebuild the model.
"""

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..adapters import AdapterLayer, LoRA
from ..errors import UserError
from ..tuning import get_state, remove, require_state
from .atomic import replace_folder
from .base import BaseRecord
from .contents import complete_state_dict, frozen_tensors, stored_keys
from .fingerprint import fingerprint
from .record import KEY, AdapterRecord

CONFIG_NAME = 'adapter_config.json'
WEIGHTS_NAME = 'adapter_model.safetensors'
_HF = 'base_model.model.'
_OWN = 'mmadapt.'
_ADAPTER_KEY = re.compile(re.escape(_HF) + r'(?P<layer>.+)\.(?P<name>lora_[AB])\.weight')


def save_adapter(model: nn.Module, folder: str, base: BaseRecord | None = None,
                 class_names=None, state_dict: Mapping[str, Tensor] | None = None) -> None:
    """Write what training changed in a model to an adapter folder, atomically.

    Args:
        model (nn.Module): An adapted model, not merged.
        folder (str): Where to; an older adapter there is replaced.
        base (BaseRecord, optional): Where the frozen weights come from. The folder holds their
            fingerprint in any case.
        class_names (list[str], optional): What the model predicts.
        state_dict (Mapping[str, Tensor], optional): The values to write, by canonical state-dict
            key, if not the model's own: an average of them, for example.

    Raises:
        UserError: The model is not adapted, or merged at the moment, or ``folder`` is a folder of
            something else.
    """
    state = require_state(model)
    if state.merged is not None:
        raise UserError('the adapter is merged; call mmadapt.unmerge before saving it')
    target = Path(folder)
    if target.exists() and not (target / CONFIG_NAME).exists() and (
            not target.is_dir() or any(target.iterdir())):
        raise UserError(f'{folder} exists and is no adapter; choose another folder')
    base = BaseRecord() if base is None else base
    stored = stored_keys(model, base.not_in_base)
    if not base.fingerprint:
        base.fingerprint = fingerprint(frozen_tensors(model, stored))
    values = model.state_dict() if state_dict is None else state_dict
    record = AdapterRecord.of(model, base, class_names)
    file_keys = _file_keys(model)
    tensors = {file_keys.get(key, _OWN + key): values[key].detach().cpu().contiguous().clone()
               for key in stored}

    def write(path: Path) -> None:
        save_file(tensors, path / WEIGHTS_NAME, metadata=dict(format='pt'))
        config = json.dumps(_hf_config(model, record), indent=2, sort_keys=True)
        (path / CONFIG_NAME).write_text(config + '\n')

    replace_folder(folder, write)


def load_adapter(model: nn.Module, folder: str) -> None:
    """Load an adapter folder into a model that holds the weights it was trained on.

    Args:
        model (nn.Module): A stock model, which is adapted as the folder says, or one adapted so
            already. It is changed only if everything fits.
        folder (str): The folder, written by :func:`save_adapter` or by Hugging Face's PEFT.

    Raises:
        UserError: The folder is missing or damaged, or belongs to another model or base.
    """
    record, tensors = read_adapter(folder)
    adapted = get_state(model) is not None
    if adapted:
        if require_state(model).merged is not None:
            raise UserError('an adapter is merged into this model; call mmadapt.unmerge first')
        record.check_same(require_state(model), folder)
    else:
        record.inject_into(model, folder)
    try:
        state = complete_state_dict(model, tensors, model.state_dict(), folder)
        missing = sorted(stored_keys(model, record.base.not_in_base) - set(tensors))
        if missing:
            raise UserError(f'{folder} lacks {missing[0]} and {len(missing) - 1} more tensors')
        if record.base.fingerprint and \
                fingerprint(frozen_tensors(model, tensors)) != record.base.fingerprint:
            raise UserError(f'{folder} was trained on other base weights than this model holds'
                            + _where(record.base))
    except UserError:
        if not adapted:
            remove(model)
        raise
    model.load_state_dict(state)


def check_adapter_fits(model: nn.Module, folder: str, not_in_base: Collection[str]) -> None:
    """Check that training can start from an adapter folder.

    Args:
        model (nn.Module): The model, adapted as the training's config says.
        folder (str): The adapter folder.
        not_in_base (Collection[str]): State-dict keys that the training's base lacks.

    Raises:
        UserError: The folder is missing or damaged, is of another method, rank or scale, or holds
            tensors that this training would keep frozen, so that no file would have them.
    """
    record, tensors = read_adapter(folder)
    there, here = record.plan['method'] or {}, require_state(model).config.plan()['method'] or {}
    for name in ('type', 'r', 'alpha'):
        if there.get(name) != here.get(name):
            raise UserError(f'{folder} has {name}={there.get(name)!r}, this config has '
                            f'peft.method.{name}={here.get(name)!r}; write the same')
    surplus = sorted(set(tensors) - stored_keys(model, not_in_base))
    if surplus:
        raise UserError(f'{folder} holds {surplus[0]} and {len(surplus) - 1} more tensors that '
                        'this config would keep frozen; write peft.targets, head and norm as they '
                        'were for it')


def read_adapter(folder: str) -> tuple[AdapterRecord, dict[str, Tensor]]:
    """Read an adapter folder.

    Args:
        folder (str): The folder, written by :func:`save_adapter` or by Hugging Face's PEFT.

    Returns:
        tuple: The record and the tensors by canonical state-dict key.

    Raises:
        UserError: A file is missing or damaged.
    """
    path = Path(folder)
    for name in (CONFIG_NAME, WEIGHTS_NAME):
        if not (path / name).is_file():
            raise UserError(f'{folder} is not an adapter folder: it has no {name}')
    try:
        config = json.loads((path / CONFIG_NAME).read_text())
    except ValueError as error:
        raise UserError(f'{path / CONFIG_NAME} is damaged: {error}') from None
    if not isinstance(config, dict):
        raise UserError(f'{path / CONFIG_NAME} is damaged: it holds a {type(config).__name__}')
    if KEY not in config:
        _check_hf_config(config, folder)
    try:
        tensors = load_file(path / WEIGHTS_NAME)
    except (SafetensorError, OSError) as error:
        raise UserError(f'{path / WEIGHTS_NAME} is damaged or only half of a file: '
                        f'{error}') from None
    keys = {key: _state_key(key, folder) for key in tensors}
    if KEY in config:
        record = AdapterRecord.from_dict(config[KEY], folder)
    else:
        record = _record_of_hf_config(config, list(keys.values()))
    return record, {keys[key]: tensor for key, tensor in tensors.items()}


def _file_keys(model: nn.Module) -> dict[str, str]:
    """Return the names in the file of the tensors that Hugging Face has names for."""
    return {f'{prefix}.{name}': f'{_HF}{prefix}.{name}.weight'
            for prefix, layer in model.named_modules() if isinstance(layer, AdapterLayer)
            for name in layer.adapter_names if prefix}


def _state_key(key: str, folder: str) -> str:
    match = _ADAPTER_KEY.fullmatch(key)
    if match:
        return f'{match["layer"]}.{match["name"]}'
    if key.startswith(_OWN):
        return key.removeprefix(_OWN)
    raise UserError(f'{folder} holds {key}, which has no meaning here: only LoRA on layers is read')


def _hf_config(model: nn.Module, record: AdapterRecord) -> dict:
    method = record.plan['method'] or {}
    names = [name for name, _ in model.named_modules()]
    targets = list(record.adapted)
    # PEFT takes each name for a suffix too; where that would hit more, it is given one pattern.
    if any(name.endswith(tuple(f'.{t}' for t in targets)) for name in names):
        targets = '|'.join(map(re.escape, targets))
    return dict(peft_type='LORA', r=method.get('r'), lora_alpha=method.get('alpha'),
                lora_dropout=method.get('dropout'), target_modules=targets, bias='none',
                task_type=None, inference_mode=True, fan_in_fan_out=False,
                base_model_name_or_path=record.base.load_from, **{KEY: record.to_dict()})


def _check_hf_config(config: dict, folder: str) -> None:
    unsupported = [name for name in ('use_dora', 'use_rslora', 'rank_pattern', 'alpha_pattern',
                                     'fan_in_fan_out', 'modules_to_save') if config.get(name)]
    uses = {'peft_type': ('LORA',), 'bias': ('none', None), 'r': None, 'lora_alpha': None}
    unsupported += [f'{name}={config.get(name)!r}' for name, allowed in uses.items()
                    if (config.get(name) is None if allowed is None
                        else config.get(name) not in allowed)]
    # These initialisations subtract something from the base, which is then another one.
    if str(config.get('init_lora_weights')).split('_')[0] in ('pissa', 'olora', 'corda', 'loftq'):
        unsupported.append(f'init_lora_weights={config["init_lora_weights"]!r}')
    if unsupported:
        raise UserError(f'{folder} was written by another program and says '
                        f'{", ".join(unsupported)}, which is not read')


def _record_of_hf_config(config: dict, keys: list[str]) -> AdapterRecord:
    layers = sorted({key.rsplit('.', 1)[0] for key in keys})
    method = LoRA(r=config['r'], alpha=config['lora_alpha'],
                  dropout=config.get('lora_dropout', 0.0))
    plan = dict(method=method.to_dict(),
                targets=[f'(?:{re.escape(layer)})' for layer in layers], exclude=[], head='freeze',
                norm='freeze')
    return AdapterRecord(plan, layers, [], BaseRecord(), [])


def _where(base: BaseRecord) -> str:
    return f' (it was trained on {base.load_from})' if base.load_from else ''
