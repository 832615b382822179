"""Merging adapters into the weights, taking them out again, and removing them."""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from ..adapters import AdapterLayer
from ..errors import UserError
from .norms import unfreeze_statistics
from .state import require_state, set_state


def merge(model: nn.Module) -> None:
    """Write the adapters into the weights, in place; the layers are of stock classes again.

    The frozen weights are kept beside, so that :func:`unmerge` is exact.

    Args:
        model (nn.Module): An adapted model.

    Raises:
        UserError: The model is not adapted, or merged already.
    """
    state = require_state(model)
    if state.merged is not None:
        raise UserError('the adapter is merged already')
    state.merged = {}
    for name in state.adapted:
        layer = model.get_submodule(name)
        bias = None if layer.bias is None else layer.bias.detach().clone()
        weight = layer.weight.detach().clone()
        state.merged[name] = dict(weight=weight, bias=bias, adapter=layer.merge_adapter())


def unmerge(model: nn.Module) -> None:
    """Take merged adapters out of the weights again; the weights are bit-identical to before.

    Raises:
        UserError: The model is not merged.
    """
    state = require_state(model)
    if state.merged is None:
        raise UserError('there is no merged adapter to take out')
    for name, kept in state.merged.items():
        layer = model.get_submodule(name)
        layer.weight.data = kept['weight']
        if kept['bias'] is not None:
            layer.bias.data = kept['bias']
        AdapterLayer.attach_adapter(layer, kept['adapter'])
    state.merged = None


def remove(model: nn.Module) -> None:
    """Remove the adapters: original classes, original weights, original ``requires_grad``.

    Layers that were trained fully, such as the head, keep what they learnt.

    Raises:
        UserError: The model is not adapted.
    """
    state = require_state(model)
    if state.merged is not None:
        unmerge(model)
    for name in state.adapted:
        model.get_submodule(name).detach_adapter()
    for module in model.modules():
        unfreeze_statistics(module, model.training)
    # A backbone may keep its norms in eval mode itself, and freeze stages of itself, in train().
    model.train(model.training)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(state.required_grad[name])
    set_state(model, None)


def merged_state_dict(model: nn.Module) -> 'OrderedDict[str, Tensor]':
    """Return the state dict of the stock model that computes what an adapted model computes.

    Args:
        model (nn.Module): An adapted model, merged or not. It is not changed.

    Returns:
        OrderedDict[str, Tensor]: Stock keys only. Frozen tensors are the model's own, not copies.
    """
    result = model.state_dict()
    with torch.no_grad():
        for prefix, layer in model.named_modules(remove_duplicate=False):
            if not isinstance(layer, AdapterLayer):
                continue
            for name in layer.adapter_names:
                del result[f'{prefix}.{name}'.lstrip('.')]
            result[f'{prefix}.weight'.lstrip('.')] = layer.merged_weight().detach()
            if layer.bias is not None:
                result[f'{prefix}.bias'.lstrip('.')] = layer.merged_bias().detach()
    return result
