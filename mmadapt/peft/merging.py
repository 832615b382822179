"""Merging the active adapter into the weights, and taking it out again."""

import torch
from torch import Tensor, nn

from ..adapters import AdapterLayer, adapted_layer, attach_adapter, write_tensors
from ..errors import UserError
from ..folding import fold_norms, unfold_norms
from ..norms import FrozenStatistics, freeze_statistics, unfreeze_statistics
from ..quantization import QuantizedLinear
from .changes import follow, precision
from .guards import check_intact, put_up_guards, take_down_guards
from .quantized_base import pack_base, packed_base
from .state import require_state


def merge(model: nn.Module) -> None:
    """Write the active adapter into the weights, in place; the layers are of stock classes again.

    The frozen weights are kept beside, so that :func:`unmerge` is exact. Quantized ones become
    dense.

    Args:
        model (nn.Module): An adapted model.

    Raises:
        UserError: The model is not adapted, or merged already.
    """
    state = require_state(model)
    if state.merged is not None:
        raise UserError('the adapter is merged already')
    check_intact(model)
    take_down_guards(model)
    unfold_norms(model)
    state.merged, state.packed = {}, packed_base(model)
    for name in state.adapted:
        layer = adapted_layer(model, name)
        kept, adapter = layer.merge_adapter()
        state.merged[name] = kept, adapter, precision(layer)
        if name in state.packed:
            del kept['weight']
    # Their statistics move where the merged model is trained.
    state.frozen_norms = [
        (module, {key: b.clone() for key, b in module.named_buffers()})
        for module in model.modules()
        if isinstance(module, FrozenStatistics)
    ]
    for norm, _ in state.frozen_norms:
        unfreeze_statistics(norm)


def unmerge(model: nn.Module) -> None:
    """Take merged adapters out of the weights again; the weights are bit-identical to before.

    Args:
        model (nn.Module): A model whose active adapter is merged.

    Raises:
        UserError: The model is not merged.
    """
    state = require_state(model)
    if state.merged is None:
        raise UserError('there is no merged adapter to take out')
    for norm, buffers in state.frozen_norms:
        freeze_statistics(norm, type(norm).__name__)
        for key, buffer in buffers.items():
            norm.get_buffer(key).copy_(buffer)
    for name, (kept, adapter, dtype) in state.merged.items():
        layer = model.get_submodule(name)
        write_tensors(layer, kept)
        follow(layer, adapter['tensors'].values(), dtype)
        attach_adapter(layer, **adapter)
    for name, packed in state.packed.items():
        layer = model.get_submodule(name)
        follow(layer, packed.parameters.values(), precision(layer))
    pack_base(model, state.packed)
    state.merged, state.frozen_norms, state.packed = None, [], {}
    if state.config.fold_norm:
        fold_norms(model)
    put_up_guards(model)


def merged_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """Return the state dict of the stock model that computes what an adapted model computes.

    Args:
        model (nn.Module): An adapted model, merged or not. It is not changed.

    Returns:
        dict[str, Tensor]: Stock keys only. Frozen tensors are the model's own, not copies.
    """
    result = model.state_dict()
    with torch.no_grad():
        for prefix, layer in model.named_modules(remove_duplicate=False):
            own, tensors = [], {}
            if isinstance(layer, QuantizedLinear):
                own, tensors = layer.packed_names[1:], dict(weight=layer.dense_weight())
            if isinstance(layer, AdapterLayer):
                own, tensors = [*own, *layer.adapter_names], layer.merged_tensors()
            for name in own:
                del result[f'{prefix}.{name}'.lstrip('.')]
            for name, tensor in tensors.items():
                result[f'{prefix}.{name}'.lstrip('.')] = tensor.detach().contiguous()
    return result
