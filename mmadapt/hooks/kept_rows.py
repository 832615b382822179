"""Rows of prediction layers that a run keeps from what it starts from, whatever file that is."""

from collections.abc import Mapping

from mmengine.config import Config
from torch import Tensor, nn

from ..classes import KeptClasses, Names, find_kept, under_all_keys
from ..config_model import build_again
from ..files import AdapterRecord, canonical_keys, load_adapter, restore
from ..peft import PEFTConfig, merged_state_dict
from .going_on import layer_of


def find_rows(
    cfg: Config,
    model: nn.Module,
    config: PEFTConfig,
    here: Names,
    there: Names,
    tensors: Mapping[str, Tensor],
    source: str | None,
) -> KeptClasses | None:
    """Find out which rows a run keeps.

    Args:
        cfg (Config): The run's whole config.
        model (nn.Module): Its stock model.
        config (PEFTConfig): The value of ``peft``.
        here (Names): The classes of its data.
        there (Names): The classes of what it starts from.
        tensors (Mapping[str, Tensor]): What that holds, by key of the model.
        source (str, optional): Where it comes from, for messages.

    Returns:
        KeptClasses, optional: None where there is nothing to do or to say.
    """
    if not config.keep_classes or not tensors or not isinstance(cfg.get('model'), Mapping):
        return None
    return find_kept(model, cfg, here, there, tensors, str(source))


def trained_over(
    model: nn.Module, stored: Mapping[str, Tensor], base: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return what was trained and for the rest its base, under all keys of shared layers.

    Args:
        model (nn.Module): The model that the keys are of.
        stored (Mapping[str, Tensor]): What was trained, by canonical key.
        base (Mapping[str, Tensor]): Its base.
    """
    first_keys = canonical_keys(model)
    trained = {key: stored[first] for key, first in first_keys.items() if first in stored}
    return {**under_all_keys(first_keys, base), **trained}


def values_there(
    model: nn.Module,
    kept: KeptClasses,
    cfg: Config,
    record: AdapterRecord,
    stored: Mapping[str, Tensor],
    base: Mapping[str, Tensor],
) -> Mapping[str, Tensor]:
    """Return the weights that an adapted model predicted its classes with.

    Args:
        model (nn.Module): The model of the run, whose classes are others.
        kept (KeptClasses): What it keeps.
        cfg (Config): Its config.
        record (AdapterRecord): What the file with the adapter says of itself.
        stored (Mapping[str, Tensor]): What it holds, by canonical key.
        base (Mapping[str, Tensor]): The base's state dict.

    Returns:
        Mapping[str, Tensor]: By stock key; where a prediction layer had an adapter, merged.
    """
    if {layer_of(key) for key in kept.entries}.isdisjoint(record.adapted):
        return trained_over(model, stored, base)
    # Its adapters fit a model of its own number of classes.
    twin = build_again(kept.config_there(cfg))
    record.inject_into(twin, kept.source)
    twin.load_state_dict(restore(twin, record, stored, base, kept.source))
    return merged_state_dict(twin)


def load_keeping(model: nn.Module, folder: str, kept: KeptClasses | None) -> None:
    """Load an adapter folder into the adapted model of a run that loads nothing else.

    Args:
        model (nn.Module): The model, initialized.
        folder (str): The adapter folder.
        kept (KeptClasses, optional): What of its rows is kept; all of them where it is None.
    """
    state = model.state_dict()
    own = {key: state[key].clone() for key in ([] if kept is None else kept.changed)}
    load_adapter(model, folder)
    if kept is not None:
        filled: dict[str, Tensor] = {}
        kept.fill(filled, own, model.state_dict())
        model.load_state_dict(filled, strict=False)
