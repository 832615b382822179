"""Training that goes on from an adapter, in a model that may predict other classes."""

from collections.abc import Collection, Mapping

from torch import Tensor, nn

from ..errors import UserError
from ..files import AdapterRecord, canonical_keys
from ..logs import say, warn
from ..peft.heads import find_heads


def find_misfits(
    model: nn.Module, stored: Mapping[str, Tensor], base: Mapping[str, Tensor], source: str
) -> set[str]:
    """Return the tensors of a model that were trained in another shape; they are logged.

    Args:
        model (nn.Module): The stock model of the training that is to go on.
        stored (Mapping[str, Tensor]): What the earlier training left, by canonical key.
        base (Mapping[str, Tensor]): The base of it; may be empty.
        source (str): The file, for messages.

    Returns:
        set[str]: State-dict keys, of a shared layer all. Their layers have to train fully.

    Raises:
        UserError: Most of the model outside its head is of another shape.
    """
    canonical = canonical_keys(model)
    given = {
        first: (value.shape, tensor.shape)
        for (key, tensor), first in zip(model.state_dict().items(), canonical.values(), strict=True)
        if (value := stored.get(first, base.get(key, base.get(first)))) is not None
    }
    misfits = {
        key for key, first in canonical.items() if first in given and len({*given[first]}) > 1
    }
    if not misfits:
        return misfits
    heads = tuple(f'{name}.' for name in find_heads(model))
    body = [key for key in given if not key.startswith(heads)]
    first = next(key for key in given if key in misfits)
    what = (
        f'{source}: {len(misfits)} tensors have another shape than in this model, first '
        f'{first} ({", ".join(" x ".join(map(str, shape)) for shape in given[first])})'
    )
    if 2 * len(misfits.intersection(body)) > len(body):
        raise UserError(f'{what}: it is of another model')
    say(f'{what}; their layers train fully')
    return misfits


def tensors_anew(
    model: nn.Module, stored: Mapping[str, Tensor], misfits: Collection[str]
) -> set[str]:
    """Return the keys of the model and the file for which the file is not asked.

    Args:
        model (nn.Module): The model, adapted.
        stored (Mapping[str, Tensor]): What the earlier training left.
        misfits (Collection[str]): The result of :func:`find_misfits`.
    """
    layers = {layer_of(key) for key in misfits}
    state = model.state_dict()
    return {
        *misfits,
        *(
            key
            for key, tensor in stored.items()
            if layer_of(key) in layers and (key not in state or state[key].shape != tensor.shape)
        ),
    }


def layer_of(key: str) -> str:
    """Return the name of the module that has the tensor of a state-dict key."""
    return key.rpartition('.')[0]


def check_one_adapter(record: AdapterRecord, path: str, adapter: str | None) -> None:
    """Refuse ``peft.adapter`` beside a checkpoint that has an adapter of its own.

    Args:
        record (AdapterRecord): What the checkpoint says of itself.
        path (str): The checkpoint.
        adapter (str, optional): The value of ``peft.adapter``.

    Raises:
        UserError: It would not be used, and it is not what that training started from.
    """
    if adapter is None or adapter == record.started_from:
        return
    base = record.base.load_from or 'none: it comes from init_cfg'
    what = (
        f'peft.adapter={adapter} is not used: {path} holds an adapter of its own. To use the '
        f'folder name the checkpoint of its base ({path} has {base})'
    )
    if record.started_from == '':  # of an older version, which may have started from it
        warn(what)
    else:
        raise UserError(f'{what}; else leave peft.adapter away')
