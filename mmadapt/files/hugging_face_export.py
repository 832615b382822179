"""Adapters for others: folders that ``peft.PeftModel.from_pretrained`` opens as they are."""

import re
from collections import Counter
from collections.abc import Collection

from torch import nn

from ..adapters import AdapterLayer
from ..errors import UserError
from .adapter_folder import check_can_save, write_folder
from .base_weights import BaseRecord
from .hugging_face import PREFIX, SHARED, file_tensors, layers_without_form, shared_layers
from .hugging_face_config import hf_config
from .stored_tensors import stored_keys

_SHOWN = 20
# The modules inside PEFT's layers, which it searches too.
_DICTS = (
    'lora_dropout',
    'lora_A',
    'lora_B',
    'lora_embedding_A',
    'lora_embedding_B',
    'lora_magnitude_vector',
)
_INNER = ('base_layer', *_DICTS, *(f'{name}.default' for name in _DICTS))


def export_hf(model: nn.Module, folder: str, base: BaseRecord | None = None) -> None:
    """Write the adapter of a model for Hugging Face's PEFT, atomically.

    There, the stock model with its base weights and this folder compute in eval mode what the
    adapted model computes. Layers that train fully become PEFT's ``modules_to_save``; an adapter
    that began with PiSSA or OLoRA becomes an ordinary LoRA of twice the rank. The folder knows
    neither its base nor the class names; it is not the one to train on from.

    Args:
        model (nn.Module): An adapted model, not merged. It is not changed.
        folder (str): Where to; an older adapter there is replaced.
        base (BaseRecord, optional): Where the frozen weights come from.

    Raises:
        UserError: The model is not adapted, or merged at the moment; ``folder`` is a folder of
            something else; or PEFT's files have no form for some of its layers, which are named.
    """
    check_can_save(model, folder)
    layers = {
        name: layer for name, layer in model.named_modules() if isinstance(layer, AdapterLayer)
    }
    if not layers:
        raise UserError(
            'this model has no adapter, only layers that train fully; their weights '
            'are in mmadapt.save_adapter and mmadapt.merge'
        )
    own = {
        f'{name}.{key}'.lstrip('.') for name, layer in layers.items() for key in layer.adapter_names
    }
    stored = stored_keys(model, () if base is None else base.not_in_base)
    trained = {key.rpartition('.')[0] for key in stored - own}
    reasons = layers_without_form(model)
    reasons.update(_not_saved_whole(model, trained, layers))
    if reasons:
        raise UserError(_refusal(folder, reasons))
    state, tensors = model.state_dict(), {}
    for name, layer in layers.items():
        tensors.update(
            file_tensors(name, layer, {key: state[f'{name}.{key}'] for key in layer.adapter_names})
        )
    for name in trained:
        tensors.update(
            {
                f'{PREFIX}{name}.{key}': state[f'{name}.{key}']
                for key in model.get_submodule(name).state_dict()
            }
        )
    write_folder(folder, hf_config(model, layers, trained), tensors)


def _not_saved_whole(
    model: nn.Module, trained: Collection[str], adapted: Collection[str]
) -> dict[str, str]:
    """Return why layers that train fully cannot be among PEFT's ``modules_to_save``.

    PEFT copies a module under every name that *ends* with one of these, within a word too, and
    leaves out of its targets whatever a name fits as a regular expression.
    """
    names = [name for name, _ in model.named_modules(remove_duplicate=False)]
    names += [f'{name}.{inner}' for name in adapted for inner in _INNER]
    shared, reasons = shared_layers(model), dict[str, str]()
    for layer in sorted(trained):
        others = [name for name in names if name != layer and name.endswith(layer)]
        if not layer:
            reasons[layer] = 'parameters of the model itself train'
        elif layer in adapted:
            reasons[layer] = 'it is adapted, and no base file has its own weight'
        elif next(model.get_submodule(layer).children(), None) is not None:
            reasons[layer] = 'parameters of its own train beside the layers inside it'
        elif layer in shared:
            reasons[layer] = SHARED
        elif others or any(_excludes(layer, name) for name in adapted):
            reasons[layer] = 'it trains, and PEFT takes its name for that of another layer too'
    return reasons


def _excludes(saved: str, name: str) -> bool:
    try:
        return re.match(rf'(^|.*\.){saved}($|\..*)', name) is not None
    except re.error:
        return True


def _refusal(folder: str, reasons: dict[str, str]) -> str:
    shown = [f'  {name or "(the model)"}: {reason}' for name, reason in reasons.items()][:_SHOWN]
    rest = Counter(list(reasons.values())[_SHOWN:])
    shown += [f'  and {count} more: {reason}' for reason, count in rest.items()]
    return (
        f"{folder} is not written: Hugging Face's PEFT has no form for {len(reasons)} of the "
        'layers (mmadapt.save_adapter has):\n' + '\n'.join(shown)
    )
