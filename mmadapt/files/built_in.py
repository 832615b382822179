"""Weights that a model has as soon as it is built, by whatever its constructor loads them.

``from_pretrained`` of transformers, ``pretrained=True`` of timm and the like leave nothing behind
by which they could be told from a random start. But what is drawn is another thing every time: a
weight that two builds with different seeds have in common has come from somewhere.
"""

from collections.abc import Callable, Collection, Iterator, Mapping

import torch
from torch import Tensor, nn

from ..adapters import adapted_class
from ..digest import tensor_digest

_LEAST_PART = 0.01  # of a model; constant kernels and tables of positions are less


def built_in_keys(
    model: nn.Module, missing: Collection[str], build: Callable[[], nn.Module]
) -> set[str]:
    """Return the state-dict keys of tensors that have not been drawn at random.

    Args:
        model (nn.Module): The model as it was built.
        missing (Collection[str]): Keys for which nothing else provides a weight; only these count.
        build (Callable): Builds the same model once more, after another seed.

    Returns:
        set[str]: Those of ``missing`` that have a weight; none unless layers do.
    """
    mine = model.state_dict(keep_vars=True)
    with torch.no_grad():
        twin = build().state_dict()
        varied = {
            key: key in twin and _equal(mine[key], twin[key])
            for key in missing
            if mine[key].is_floating_point()
            and mine[key].numel()
            and (mine[key] != mine[key].reshape(-1)[0]).any()
        }
        fixed = {
            key
            for key in missing
            if key not in varied and key in twin and _equal(mine[key], twin[key])
        }
    del twin
    weights = {
        f'{name}.weight'.lstrip('.')
        for name, module in model.named_modules()
        if adapted_class(module) is not None
    }
    loaded = sum(mine[key].numel() for key in weights if varied.get(key))
    if loaded < _LEAST_PART * sum(p.numel() for p in model.parameters()):
        return set()
    # What is constant in both, such as a bias of zeros, says nothing by itself.
    random, other = (
        {
            place
            for key, same in varied.items()
            if same is wanted and isinstance(mine[key], nn.Parameter)
            for place in _places(key)
        }
        for wanted in (False, True)
    )
    return {key for key, same in varied.items() if same} | {
        key
        for key in fixed
        if next((place in other for place in _places(key) if place in random | other), False)
    }


def digests(model: nn.Module, keys: Collection[str]) -> dict[str, str]:
    """Return the digests of tensors of a model, by state-dict key."""
    state = model.state_dict()
    return {key: tensor_digest(state[key]) for key in keys}


def changed(model: nn.Module, before: Mapping[str, str]) -> list[str]:
    """Return the keys of tensors that are no longer what :func:`digests` saw."""
    return [key for key, digest in digests(model, before).items() if digest != before[key]]


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one.detach().cpu(), other.cpu())


def _places(key: str) -> Iterator[str]:
    """Yield the names of the modules that a tensor is in, the innermost first."""
    while key:
        key = key.rpartition('.')[0]
        yield key
