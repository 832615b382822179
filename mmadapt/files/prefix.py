"""Checkpoints of a model that is a part of another one: their keys lack the part's name."""

from collections import Counter
from collections.abc import Mapping

from torch import Tensor, nn

_SAMPLES = 50


def part_of_checkpoint(model: nn.Module, state_dict: Mapping[str, Tensor]) -> str:
    """Return the name of the part of a model that a state dict is of.

    Args:
        model (nn.Module): The model.
        state_dict (Mapping[str, Tensor]): What a file holds.

    Returns:
        str: The name; empty where tensors of it fit the model itself, or no part of it.
    """
    shapes = {key: tensor.shape for key, tensor in model.state_dict().items()}
    given = {
        key: tensor.shape
        for key, tensor in state_dict.items()
        if isinstance(tensor, Tensor) and not key.endswith('num_batches_tracked')
    }
    if any(shapes.get(key) == shape for key, shape in given.items()):
        return ''
    parts = Counter(
        key[: -len(wanted) - 1]
        for wanted in list(given)[:_SAMPLES]
        for key in shapes
        if key.endswith(f'.{wanted}') and shapes[key] == given[wanted]
    )
    fits = {
        part: sum(shapes.get(f'{part}.{key}') == shape for key, shape in given.items())
        for part in parts
    }
    best = max(fits, key=lambda part: fits[part], default='')
    # A norm of the same size is in many a model: most of the file must be there.
    return best if best and 2 * fits[best] > len(given) else ''


def with_full_keys(model: nn.Module, state_dict: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return a state dict under the keys that its tensors have in a model.

    Args:
        model (nn.Module): The model that it is to be loaded into.
        state_dict (Mapping[str, Tensor]): Of the model, or of a part of it.
    """
    part = part_of_checkpoint(model, state_dict)
    return {f'{part}.{key}': tensor for key, tensor in state_dict.items()} if part else state_dict
