"""Hugging Face's PEFT: which adapted layers have a form in its files, and their names there.

Its layers are wrappers around stock layers, with ``lora_A`` and ``lora_B`` as layers of their own.
What those cannot compute, or compute otherwise, has no form; its files must not seem to hold it.
"""

import re
from collections import Counter
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..adapters import AdapterLayer, DoRA, LoRA, is_linear
from ..adapters.layers.conv import ConvLayer
from .stored_tensors import canonical_keys

PREFIX = 'base_model.model.'
SHARED = 'it stands in the model under several names'
_NAMES = dict(lora_A='lora_A.weight', lora_B='lora_B.weight', magnitude='lora_magnitude_vector')
_EMBEDDING_NAMES = {**_NAMES, 'lora_A': 'lora_embedding_A', 'lora_B': 'lora_embedding_B'}
_OWN_NAMES = {there: own for names in (_NAMES, _EMBEDDING_NAMES) for own, there in names.items()}
_KEY = re.compile(
    re.escape(PREFIX) + r'(?P<layer>.+)\.(?P<name>' + '|'.join(map(re.escape, _OWN_NAMES)) + ')'
)


def layers_without_form(model: nn.Module) -> dict[str, str]:
    """Return the adapted layers that Hugging Face's files cannot describe.

    Args:
        model (nn.Module): An adapted model, not merged.

    Returns:
        dict[str, str]: For the name of each of them, why.
    """
    shared = shared_layers(model)
    reasons = {
        name: SHARED if name in shared else _why_no_form(name, layer)
        for name, layer in model.named_modules()
        if isinstance(layer, AdapterLayer)
    }
    return {name: reason for name, reason in reasons.items() if reason}


def shared_layers(model: nn.Module) -> set[str]:
    """Return the names of modules that have a tensor of several state-dict keys.

    Hugging Face's PEFT adapts or copies such a module under one of its names alone.
    """
    first = canonical_keys(model)
    uses = Counter(first.values())
    return {key.rpartition('.')[0] for key in first if uses[first[key]] > 1}


def file_tensors(
    name: str, layer: AdapterLayer, tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the tensors of an adapted layer with the names and shapes they have in the files.

    Initializations that train ``B A - B0 A0`` become an ordinary LoRA of twice the rank:
    ``[B, -B0] [A; A0]``. The padding entry of an embedding, which no training changes, gets zeros:
    PEFT adds what stands there.

    Args:
        name (str): The name of the layer.
        layer (AdapterLayer): The layer, which has a form.
        tensors (Mapping[str, Tensor]): Its adapter's tensors, by attribute name.

    Returns:
        dict[str, Tensor]: By key of the file.
    """
    result = {key: tensors[key] for key in _NAMES if key in tensors}
    if 'lora_A0' in tensors:
        result['lora_A'] = torch.cat([tensors['lora_A'], tensors['lora_A0']])
        result['lora_B'] = torch.cat([tensors['lora_B'], -tensors['lora_B0']], dim=1)
    if isinstance(layer, nn.Embedding) and layer.padding_idx is not None:
        entry = torch.tensor(layer.padding_idx, device=result['lora_A'].device)
        result['lora_A'] = result['lora_A'].index_fill(1, entry, 0)
    if 'magnitude' in result and isinstance(layer, ConvLayer):
        result['magnitude'] = tensors['magnitude'].view(1, -1, *(1,) * (layer.weight.dim() - 2))
    names = _EMBEDDING_NAMES if isinstance(layer, nn.Embedding) else _NAMES
    return {f'{PREFIX}{name}.{names[key]}': tensor for key, tensor in result.items()}


def split_key(key: str) -> tuple[str, str] | None:
    """Return the layer that a key of the file belongs to and the tensor's name in that layer.

    None if it is not the key of an adapter's tensor.
    """
    match = _KEY.fullmatch(key)
    return match and (match['layer'], _OWN_NAMES[match['name']])


def own_shape(name: str, tensor: Tensor) -> Tensor:
    """Return a tensor of the file in the shape that it has in an adapted layer.

    Only the magnitude of a convolution has another one, ``(1, out, 1, 1)``.
    """
    if name == 'magnitude' and tensor.dim() > 1 and tensor.numel() == tensor.shape[1]:
        return tensor.flatten()
    return tensor


def _why_no_form(name: str, layer: AdapterLayer) -> str | None:
    method = type(layer.adapter)
    if method not in (LoRA, DoRA):
        return f'{method.__name__} is no method of it'
    if not name:
        return 'it is the model itself'
    if isinstance(layer, ConvLayer):
        return _why_no_form_of_conv(layer)
    if not is_linear(layer) and not isinstance(layer, nn.Embedding):
        return f'a {layer.stock_class.__name__}'
    if isinstance(layer, nn.Embedding) and layer.padding_idx is not None and method is DoRA:
        return 'its padding entry, which its DoRA there does not leave alone'
    return _why_no_magnitude(layer)


def _why_no_form_of_conv(layer: ConvLayer) -> str | None:
    # A subclass that overrides these does something to its weight or its input.
    plain = type(layer).run is ConvLayer.run and type(layer).transform is ConvLayer.transform
    if not plain:
        return f'a {layer.stock_class.__name__}'
    if layer.groups > 1:
        return 'a grouped convolution'
    # Its A is a convolution of the same kernel, stride and padding, but of the usual rest.
    if any(dilation > 1 for dilation in layer.dilation):
        return 'a dilated convolution'
    if layer.padding_mode != 'zeros':
        return f'a convolution of padding_mode={layer.padding_mode!r}'
    return _why_no_magnitude(layer)


def _why_no_magnitude(layer: AdapterLayer) -> str | None:
    if 'magnitude' in layer.adapter_names and not layer.get_parameter('magnitude').all():
        return 'a channel of zeros, by whose norm its DoRA divides'
    return None
