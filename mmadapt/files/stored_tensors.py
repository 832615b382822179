"""Which tensors of an adapted model a file must hold, and how a whole state dict comes of them.

A file holds what training changes: adapters, layers that train fully, statistics that move; and
what no base file provides. Everything else is the base model's and stays in the base model's file.
"""

from collections import OrderedDict
from collections.abc import Collection, Mapping

from torch import Tensor, nn

from ..adapters import AdapterLayer
from ..errors import UserError
from ..norms import statistics_move
from ..quantization import dense_digests


def canonical_keys(model: nn.Module) -> dict[str, str]:
    """Return for every state-dict key the first key under which the same tensor stands.

    A module that stands in a model under several names has several keys for each tensor.
    """
    first: dict[int, str] = {}
    return {
        key: first.setdefault(id(tensor), key)
        for key, tensor in model.state_dict(keep_vars=True).items()
    }


def stored_keys(model: nn.Module, not_in_base: Collection[str] = ()) -> set[str]:
    """Return the canonical keys of the tensors that the base model does not provide.

    Args:
        model (nn.Module): An adapted model, not merged.
        not_in_base (Collection[str]): State-dict keys that the base model's files lack.

    Returns:
        set[str]: Canonical state-dict keys.
    """
    own = {
        f'{prefix}.{name}'.lstrip('.')
        for prefix, module in model.named_modules()
        for name in (
            *(module._buffers if statistics_move(module) else ()),
            # Constants too: not every machine computes the same from the same weights.
            *(module.adapter_names if isinstance(module, AdapterLayer) else ()),
        )
    }
    tensors = model.state_dict(keep_vars=True)
    canonical = canonical_keys(model)
    return {
        canonical[key]
        for key, tensor in tensors.items()
        if tensor.requires_grad or canonical[key] in own or key in not_in_base
    }


def lacks_only_buffers(model: nn.Module, stored: Collection[str]) -> bool:
    """Return whether the base provides nothing but buffers, as in full fine-tuning.

    Args:
        model (nn.Module): An adapted model, not merged.
        stored (Collection[str]): The result of :func:`stored_keys`.
    """
    canonical = canonical_keys(model)
    return not any(isinstance(module, AdapterLayer) for module in model.modules()) and all(
        canonical[key] in stored
        for key, tensor in model.state_dict(keep_vars=True).items()
        if isinstance(tensor, nn.Parameter)
    )


def frozen_tensors(model: nn.Module, stored: Collection[str]) -> dict[str, Tensor | str]:
    """Return the tensors that the base model provides, by canonical key.

    Of one that has been quantized, the digest of what it was.
    """
    state = {**model.state_dict(), **dense_digests(model)}
    return {
        key: state[key]
        for key, first in canonical_keys(model).items()
        if key == first and key not in stored and state[key] is not None
    }


def complete_state_dict(
    model: nn.Module,
    stored: Mapping[str, Tensor],
    base: Mapping[str, Tensor],
    source: str,
    anew: Collection[str] = (),
) -> 'OrderedDict[str, Tensor]':
    """Return the state dict of an adapted model from what a file holds and its base.

    Args:
        model (nn.Module): The adapted model that the state dict is for; it is not changed.
        stored (Mapping[str, Tensor]): What the file holds, by canonical key.
        base (Mapping[str, Tensor]): The base model's state dict.
        source (str): The file's name, for messages.
        anew (Collection[str]): Keys of the file or the model that the file is not asked for: the
            base's value is taken where it fits, else the model's own.

    Returns:
        OrderedDict[str, Tensor]: A tensor for every key of the model.

    Raises:
        UserError: A tensor is in neither, or has another shape than in the model.
    """
    state, first_keys = model.state_dict(), canonical_keys(model)
    # Files of text models hold a tied tensor under one of its keys.
    base = {
        **{first_keys[key]: tensor for key, tensor in base.items() if key in first_keys},
        **base,
    }
    result: OrderedDict[str, Tensor] = OrderedDict()
    for key, first in first_keys.items():
        of_base = base.get(key, base.get(first))
        if first in stored and first not in anew:
            if stored[first].shape != state[key].shape:
                raise UserError(
                    f'{source} holds {first} of shape {tuple(stored[first].shape)}, the model has '
                    f'{tuple(state[key].shape)} there: its config (classes, rank) is another one'
                )
            result[key] = stored[first]
        elif of_base is not None and of_base.shape == state[key].shape:
            # A base may be kept in half precision; loading it casts it.
            result[key] = of_base.to(state[key].dtype)
        elif key.endswith('num_batches_tracked') or first in anew:
            result[key] = state[key]
        else:
            raise UserError(f'{key} is neither in {source} nor in its base model')
    surplus = sorted(set(stored) - set(result) - set(anew))
    if surplus:
        raise UserError(
            f'{source} holds {surplus[0]} and {len(surplus) - 1} more tensors that '
            'this model does not have: it belongs to another model'
        )
    return result
