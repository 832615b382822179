"""Which rows of a checkpoint a model starts from."""

from collections.abc import Mapping, Sequence

from mmengine.config import Config
from torch import Tensor, nn

from ..files import canonical_keys
from ..norms import is_norm
from .counted import ClassTensor, find_class_tensors, is_counted_by_words, places_of_count
from .kept import KeptClasses, Lists
from .layouts import is_of_the_data
from .names import Names, usual_names


def find_kept(
    model: nn.Module,
    cfg: Config,
    here: Names,
    there: Names,
    tensors: Mapping[str, Tensor],
    source: str,
) -> KeptClasses | None:
    """Find out which rows of a checkpoint a model starts from. Nothing is changed.

    Args:
        model (nn.Module): The stock model; it needs no values.
        cfg (Config): Its config.
        here (Names): What it is to predict.
        there (Names): What the checkpoint says that it predicts; empty if it says nothing.
        tensors (Mapping[str, Tensor]): What the checkpoint holds, by key of the model; only their
            shapes are read.
        source (str): The checkpoint, for messages.

    Returns:
        KeptClasses, optional: None where there is nothing to do or to say.
    """
    kept = KeptClasses(source, canonical_keys(model))
    tensors = under_all_keys(kept.first_keys, tensors)
    options = [there] if there else [*usual_names(cfg)]
    counted = {kind: places_of_count(cfg.model, kind, len(here[kind])) for kind in here}
    for kind, names in here.items():
        what = 'keypoints' if kind == 'keypoints' else 'classes'
        lists = [
            Lists(what, names, option[kind], counted[kind])
            for option in options
            if option.get(kind, names) != names
        ]
        # With nothing in common there is nothing to do.
        lists = [one for one in lists if one.common or (there and one.near)]
        if not lists:
            continue
        if counted[kind]:
            _find_entries(kept, model, cfg, lists, tensors, is_said=bool(there))
        elif there and not any(counted.values()) and not is_counted_by_words(cfg.model):
            kept.unreliable = _why_uncounted(model, lists[0], tensors)
    return kept if kept.lists or kept.unreliable else None


def under_all_keys(
    first_keys: Mapping[str, str], tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the tensors of a file by key of a model, under each of a shared one's.

    Args:
        first_keys (Mapping[str, str]): For every key of the model the first of the same tensor.
        tensors (Mapping[str, Tensor]): What the file holds.
    """
    return {
        key: tensors[key if key in tensors else first]
        for key, first in first_keys.items()
        if key in tensors or first in tensors
    }


def _find_entries(
    kept: KeptClasses,
    model: nn.Module,
    cfg: Config,
    options: Sequence[Lists],
    tensors: Mapping[str, Tensor],
    is_said: bool,
) -> None:
    lists = options[0]
    try:
        found = find_class_tensors(model, cfg, lists.places, len(lists.here))
    except Exception as error:  # whatever the constructors of a model say
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        kept.unreliable.append(
            f'the model cannot be built for one of the {lists.what} more, which would show what '
            f'follows their number: {reason}'
        )
        return
    found = {key: tensor for key, tensor in found.items() if key in tensors}
    known = {key: tensor for key, tensor in found.items() if not tensor.why_not}
    fitting = [one for one in options if len(_fitting(one, known, tensors)) == len(known)]
    if not found or not (is_said or (known and fitting)):
        return
    lists = lists if is_said else fitting[0]
    fit = _fitting(lists, known, tensors)
    if known and not fit:
        key, tensor = next(iter(known.items()))
        kept.unreliable.append(
            f'it names {len(lists.there)} {lists.what}, but {key} has the shape '
            f'{tuple(tensors[key].shape)} there, not {tuple(tensor.shape_for(len(lists.there)))}'
        )
        return
    kept.lists.append(lists)
    if lists.common:
        _enter(kept, model, lists, found, fit)
        kept.own |= {key for key in tensors if is_of_the_data(model, key)}


def _fitting(
    lists: Lists, known: Mapping[str, ClassTensor], tensors: Mapping[str, Tensor]
) -> set[str]:
    """Return which tensors have in the file the shape that they have for its classes."""
    count = len(lists.there)
    return {key for key, t in known.items() if t.shape_for(count) == tensors[key].shape}


def _enter(
    kept: KeptClasses,
    model: nn.Module,
    lists: Lists,
    found: Mapping[str, ClassTensor],
    fit: set[str],
) -> None:
    kept.tensors.update(found)
    there = [lists.there.index(name) for name in lists.common]
    here = [lists.here.index(name) for name in lists.common]
    parameters = {key for key, _ in model.named_parameters(remove_duplicate=False)}
    for key, tensor in found.items():
        if key not in parameters and not is_norm(model.get_submodule(key.rpartition('.')[0])):
            kept.own.add(key)
        elif key in fit:
            kept.entries[key] = {
                axis: (
                    layout.entries(there, len(lists.there)),
                    layout.entries(here, len(lists.here)),
                )
                for axis, layout in tensor.layouts.items()
            }
        else:
            kept.left[key] = tensor.why_not or 'it has another shape for another reason'


def _why_uncounted(model: nn.Module, lists: Lists, tensors: Mapping[str, Tensor]) -> list[str]:
    misfit = any(
        key in tensors and tensors[key].shape != tensor.shape
        for key, tensor in model.state_dict().items()
    )
    return (
        [
            f'nothing in the model config counts {len(lists.here)} {lists.what}, so that it is '
            'not known what follows their number'
        ]
        if misfit
        else []
    )
