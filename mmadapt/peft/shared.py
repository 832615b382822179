"""Parameters that stand in a model under several names, or in several layers."""

from collections.abc import Collection

from torch import nn


def layers_with_a_common_parameter(model: nn.Module) -> dict[nn.Module, set[nn.Module]]:
    """Return different layers that hold the very same parameter, each with the others.

    A module of several names is one layer.
    """
    owners: dict[nn.Parameter, list[nn.Module]] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            owners.setdefault(parameter, []).append(module)
    common: dict[nn.Module, set[nn.Module]] = {}
    for modules in owners.values():
        for module in modules if len(modules) > 1 else ():
            common.setdefault(module, set()).update(m for m in modules if m is not module)
    return common


def keys_without_weight(model: nn.Module, keys: Collection[str]) -> set[str]:
    """Return which of some missing state-dict keys stand for tensors that have come by no key.

    Files of text models hold an output layer that is tied to the input embedding under one of its
    two keys.
    """
    if not keys:
        return set()
    by_tensor: dict[int, list[str]] = {}
    for key, tensor in model.state_dict(keep_vars=True).items():
        by_tensor.setdefault(id(tensor), []).append(key)
    keys = set(keys)
    return {key for names in by_tensor.values() if keys.issuperset(names) for key in names}
