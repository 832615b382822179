"""Adapters as folders: ``adapter_config.json`` and ``adapter_model.safetensors``.

The names and shapes are those of Hugging Face's PEFT for every layer that has a form there. What
has none (SSF, grouped and transposed convolutions, attention, layers that train fully, norm
statistics) stands under our own keys. Where nothing does, PEFT opens the folder as it is; where
something does, ``peft_type`` is one that PEFT refuses instead of loading a part.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from mmengine.config import Config
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..adapters import AdapterLayer
from ..errors import UserError
from ..peft import check_intact, require_state
from .atomic import replace_folder
from .base_weights import BaseRecord
from .described_model import DESCRIPTION_NAME, DescribedModel
from .fingerprint import fingerprint
from .hugging_face import file_tensors, layers_without_form, own_shape, split_key
from .hugging_face_config import hf_config, read_hf_config, trained_key
from .record import AdapterRecord, merge_command
from .stored_tensors import frozen_tensors, stored_keys
from .trained_part import KEY

CONFIG_NAME = 'adapter_config.json'
WEIGHTS_NAME = 'adapter_model.safetensors'
_OWN = 'mmadapt.'


def save_adapter(
    model: nn.Module,
    folder: str,
    base: BaseRecord | None = None,
    class_names=None,
    state_dict: Mapping[str, Tensor] | None = None,
    keypoint_names=None,
    described: DescribedModel | None = None,
) -> None:
    """Write what training changed in a model to an adapter folder, atomically.

    Args:
        model (nn.Module): An adapted model, not merged.
        folder (str): Where to; an older adapter there is replaced.
        base (BaseRecord, optional): Where the frozen weights come from; it is not changed. The
            folder holds their fingerprint in any case.
        class_names (list[str], optional): What the model predicts.
        state_dict (Mapping[str, Tensor], optional): The values to write, by canonical state-dict
            key, if not the model's own: an average of them, for example.
        keypoint_names (list[str], optional): What a model of poses predicts.
        described (DescribedModel, optional): What the model is built from, so that the folder can
            be used without a config. By default the model's own ``cfg`` says it, which it has from
            MMDetection's ``init_detector``; else the folder does not.

    Raises:
        UserError: The model is not adapted, or merged at the moment, or ``folder`` is a folder of
            something else.
    """
    check_can_save(model, folder)
    base = BaseRecord() if base is None else base
    stored = stored_keys(model, base.not_in_base)
    if not base.fingerprint:
        base = replace(base, fingerprint=fingerprint(frozen_tensors(model, stored)))
    values = model.state_dict() if state_dict is None else state_dict
    record = AdapterRecord.of(model, base, class_names, keypoint_names=keypoint_names)
    tensors: dict[str, Tensor] = {}
    no_form, rest = layers_without_form(model), set(stored)
    layers = {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, AdapterLayer)
        and name not in no_form
        and 'lora_A0' not in layer.adapter_names
    }
    for name, layer in layers.items():
        own = {key: values[f'{name}.{key}'] for key in layer.adapter_names}
        tensors.update(file_tensors(name, layer, own))
        rest -= {f'{name}.{key}' for key in own}
    tensors.update({_OWN + key: values[key] for key in rest})
    config = dict(peft_type='MMADAPT') if rest else hf_config(model, layers)
    cfg = getattr(model, 'cfg', None)
    if described is None and isinstance(cfg, Config):
        described = DescribedModel.of(cfg, getattr(model, 'dataset_meta', None))
    write_folder(folder, {**config, KEY: record.to_dict()}, tensors, described)


def check_can_save(model: nn.Module, folder: str) -> None:
    """Check that a model has an adapter to save, and that a folder may be replaced by it.

    Args:
        model (nn.Module): The adapted model.
        folder (str): Where the adapter is to go.

    Raises:
        UserError: The model is not adapted, or merged, or has lost an adapter, or ``folder`` is
            something else.
    """
    if require_state(model).merged is not None:
        raise UserError('the adapter is merged; call mmadapt.unmerge before saving it')
    check_intact(model)
    target = Path(folder)
    if (
        target.exists()
        and not (target / CONFIG_NAME).exists()
        and (not target.is_dir() or any(target.iterdir()))
    ):
        raise UserError(f'{folder} exists and is no adapter; choose another folder')


def write_folder(
    folder: str,
    config: Mapping,
    tensors: Mapping[str, Tensor],
    described: DescribedModel | None = None,
) -> None:
    """Write the files of an adapter folder, atomically.

    Args:
        folder (str): Where to; an older one there is replaced.
        config (Mapping): What ``adapter_config.json`` says, of plain values.
        tensors (Mapping[str, Tensor]): By key of the file, on any device.
        described (DescribedModel, optional): What the model is built from; no file says it by
            default.
    """
    tensors = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in tensors.items()}

    def write(path: Path) -> None:
        save_file(tensors, path / WEIGHTS_NAME, metadata=dict(format='pt'))
        text = json.dumps(config, indent=2, sort_keys=True)
        (path / CONFIG_NAME).write_text(text + '\n')
        if described is not None:
            text = json.dumps(described.to_dict(), indent=1)
            (path / DESCRIPTION_NAME).write_text(text + '\n', encoding='utf-8')

    replace_folder(folder, write)


def check_adapter_fits(
    model: nn.Module, folder: str, not_in_base: Collection[str], anew: Collection[str] = ()
) -> None:
    """Check that training can start from an adapter folder.

    Args:
        model (nn.Module): The model, adapted as the training's config says.
        folder (str): The adapter folder.
        not_in_base (Collection[str]): State-dict keys that the training's base lacks.
        anew (Collection[str]): Keys of the folder that it is not asked for.

    Raises:
        UserError: The folder is missing or damaged, is of another model, method, rank or scale, or
            holds tensors that this training would keep frozen, so that no file would have them.
    """
    record, tensors = read_adapter(folder)
    record.check_layers(model, folder)
    record.check_form(model, folder)
    there, here = record.plan['method'] or {}, require_state(model).config.plan()['method'] or {}
    for name in ('type', 'r', 'alpha'):
        if there.get(name) != here.get(name):
            raise UserError(
                f'{folder} has {name}={there.get(name)!r}, this config has '
                f'peft.method.{name}={here.get(name)!r}; write the same, or merge it '
                f'first, {merge_command(folder)}, and start from load_from=merged.pth'
            )
    surplus = sorted(set(tensors) - stored_keys(model, not_in_base) - set(anew))
    if surplus:
        raise UserError(
            f'{folder} holds {surplus[0]} and {len(surplus) - 1} more tensors that '
            'this config would keep frozen; write peft.targets, head and norm as they '
            'were for it'
        )


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
    try:
        tensors = load_file(path / WEIGHTS_NAME)
    except (SafetensorError, OSError) as error:
        raise UserError(
            f'{path / WEIGHTS_NAME} is damaged or only half of a file: {error}'
        ) from None
    if KEY in config:
        record = AdapterRecord.from_dict(config[KEY], folder)
    else:
        record = read_hf_config(config, list(tensors), folder)
    result: dict[str, Tensor] = {}
    for file_key, tensor in tensors.items():
        layer, name = split_key(file_key) or (None, '')
        key = (
            f'{layer}.{name}'
            if layer
            else (
                trained_key(file_key, config, folder)
                if record.from_hf
                else _own_key(file_key, folder)
            )
        )
        if key in result:
            raise UserError(f'{folder} holds {key} under two names, one of them {file_key}')
        result[key] = own_shape(name, tensor)
    return record, result


def _own_key(key: str, folder: str) -> str:
    if not key.startswith(_OWN) or key == _OWN:
        raise UserError(
            f'{folder} holds {key}, which has no meaning here: it is neither a tensor '
            f'of LoRA or DoRA as PEFT names it nor one of ours, {_OWN}...'
        )
    return key.removeprefix(_OWN)
