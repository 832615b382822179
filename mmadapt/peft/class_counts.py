"""Heads that predict another number of classes: their tensors, and the attributes that count.

MMDetection's heads know their number of classes by a few attributes beside the shapes of their last
layers; loading other tensors alone would leave them with the old number.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError

CLASS_COUNTS = ('num_classes', 'cls_out_channels', 'num_things_classes', 'num_stuff_classes')
"""The attributes by which the heads of OpenMMLab's models know how many classes they predict."""

_OUTPUTS = ('out_channels', 'out_features', 'num_embeddings')


def fit_class_counts(
    model: nn.Module,
    tensors: Mapping[str, Tensor],
    counts: Mapping[str, Mapping[str, int]],
    class_names,
    source: str,
) -> None:
    """Give a stock model the number of classes that an adapter predicts.

    Parameters of another shape are replaced by new ones, whose values are not set; none is written
    to.

    Args:
        model (nn.Module): The model, without an active adapter.
        tensors (Mapping[str, Tensor]): What the adapter holds, by state-dict key.
        counts (Mapping[str, Mapping[str, int]]): By module, those of its :data:`CLASS_COUNTS` that
            it has. Empty in old files: they follow from the shapes then.
        class_names (Sequence[str], optional): What the adapter predicts.
        source (str): Where it comes from, for messages.

    Raises:
        UserError: The number does not follow from the shapes.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    resized = _resize(model, modules, tensors)
    if not counts:
        counts = _counts_from_shapes(modules, resized, class_names, source)
    for name, values in counts.items():
        module = modules.get(name)
        if module is None:
            continue
        old, new = vars(module).get('num_classes'), values.get('num_classes')
        for key, value in values.items():
            if key in vars(module) and vars(module)[key] != value:
                setattr(module, key, value)
        if type(old) is int and type(new) is int and old != new:
            _fit_class_weights(module, old, new)


def _resize(
    model: nn.Module, modules: Mapping[str, nn.Module], tensors: Mapping[str, Tensor]
) -> dict[str, tuple[int, int]]:
    """Make room for tensors that have another number of outputs, and return both numbers."""
    resized, new = {}, {}
    for key, tensor in tensors.items():
        prefix, _, name = key.rpartition('.')
        module = modules.get(prefix)
        if module is None:
            continue
        old = module._parameters.get(name, module._buffers.get(name))
        if (
            old is None
            or not old.dim()
            or old.shape == tensor.shape
            or old.shape[1:] != tensor.shape[1:]
        ):
            continue
        empty = torch.empty(tensor.shape, dtype=old.dtype, device=old.device)
        new[id(old)] = (
            nn.Parameter(empty, old.requires_grad) if name in module._parameters else empty
        )
        resized[key] = old.shape[0], tensor.shape[0]
        for attribute in _OUTPUTS:
            if name == 'weight' and vars(module).get(attribute) == old.shape[0]:
                setattr(module, attribute, tensor.shape[0])
    for module in model.modules():
        tensors_of: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
        for own in tensors_of:
            own.update({name: new[id(t)] for name, t in own.items() if id(t) in new})
    return resized


def _counts_from_shapes(
    modules: Mapping[str, nn.Module],
    resized: Mapping[str, tuple[int, int]],
    class_names,
    source: str,
) -> dict[str, dict[str, int]]:
    heads: dict[str, list[tuple[int, int]]] = {}
    for key, sizes in resized.items():
        path = key.split('.')[:-1]
        owners = ['.'.join(path[:end]) for end in range(len(path), -1, -1)]
        owner = next((o for o in owners if type(_count(modules[o])) is int), None)
        if owner is not None:
            heads.setdefault(owner, []).append(sizes)
    counts = {}
    for head, pairs in heads.items():
        old = _count(modules[head])
        possible = set.intersection(*(_possible_counts(old, *pair) for pair in pairs))
        if class_names is not None:
            possible &= {len(class_names)}
        if len(possible) != 1 or 'num_things_classes' in vars(modules[head]):
            raise UserError(
                f'{source} does not say how many classes {head or "the model"} predicts, and its '
                f'shapes do not tell: this model has {old}, and an output of {pairs[0][0]} became '
                f'{pairs[0][1]}. Load it into a model of its number of classes and save it again'
            )
        new = possible.pop()
        below = {
            name: vars(module)
            for name, module in modules.items()
            if name == head or name.startswith(f'{head}.' if head else '')
        }
        for name, values in below.items():
            found = {
                key: new + values[key] - old
                for key in ('num_classes', 'cls_out_channels')
                if values.get(key) in (old, old + 1)
            }
            counts.update({name: found} if found else {})
    return counts


def _count(module: nn.Module):
    return vars(module).get('num_classes')


def _possible_counts(old: int, before: int, after: int) -> set[int]:
    """Return numbers of classes that explain the outputs: some for each, with or without one more.

    The one more is the background. A class may have several outputs, one for each anchor.
    """
    return {
        after // (before // (old + extra)) - extra
        for extra in (0, 1)
        if before % (old + extra) == 0 and after % (before // (old + extra)) == 0
    }


def _fit_class_weights(head: nn.Module, old: int, new: int) -> None:
    """Fit weights of the losses where all classes have the same, beside the background."""
    module: Any
    for module in head.modules():
        weights = vars(module).get('class_weight')
        if (
            not isinstance(weights, (list, tuple, Tensor))
            or len(weights) not in (old, old + 1)
            or any(weight != weights[0] for weight in weights[1:old])
        ):
            continue
        fitted = [weights[0]] * new + list(weights[old:])
        module.class_weight = (
            weights.new_tensor(fitted) if isinstance(weights, Tensor) else type(weights)(fitted)
        )
