"""Which rows of a model's prediction layers a checkpoint has, by the names of their classes."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from mmengine.config import Config
from torch import Tensor, nn

from ..files import canonical_keys
from ..norms import is_norm
from .counted import ClassTensor, find_class_tensors, places_of_count, with_counts
from .layouts import is_of_the_data
from .names import Names, usual_names

_Entries = dict[int, tuple[list[int], list[int]]]


@dataclass
class Lists:
    """Two lists of names of one kind, and where the config counts them.

    Attributes:
        what (str): ``'classes'`` or ``'keypoints'``.
        here (list[str]): What the model is to predict.
        there (list[str]): What the checkpoint predicts.
        places (dict[str, int]): The counts of the model's config, by place.
    """

    what: str
    here: list[str]
    there: list[str]
    places: dict[str, int]

    @property
    def common(self) -> list[str]:
        """list[str]: The names in both, each of which means one class in both."""
        once = _once(self.there)
        return [name for name in self.here if name in _once(self.here) & once]

    @property
    def new(self) -> list[str]:
        """list[str]: The names of the model's other classes."""
        common = {*self.common}
        return [name for name in self.here if name not in common]

    @property
    def near(self) -> dict[str, str]:
        """dict[str, str]: New names that are written otherwise there, each with that."""
        written = {_plain(name): name for name in self.there if name not in self.common}
        return {name: written[_plain(name)] for name in self.new if _plain(name) in written}


@dataclass
class KeptClasses:
    """What a training starts its prediction layers from.

    Attributes:
        source (str): The checkpoint, for messages.
        first_keys (dict[str, str]): For every key of the model the first one of the same tensor.
        lists (list[Lists]): The names.
        tensors (dict[str, ClassTensor]): By state-dict key, those that follow the lists.
        entries (dict[str, dict]): By state-dict key, for each axis of the classes, which entries
            are taken and where they go.
        own (set[str]): Keys of what belongs to the data and not to what was learned.
        left (dict[str, str]): Keys of what stays random, each with the reason.
        unreliable (list[str]): What is wrong with names that are not used for that.
    """

    source: str
    first_keys: dict[str, str]
    lists: list[Lists] = field(default_factory=list)
    tensors: dict[str, ClassTensor] = field(default_factory=dict)
    entries: dict[str, _Entries] = field(default_factory=dict)
    own: set[str] = field(default_factory=set)
    left: dict[str, str] = field(default_factory=dict)
    unreliable: list[str] = field(default_factory=list)

    @property
    def changed(self) -> set[str]:
        """set[str]: Keys whose tensors do not start as they are in the checkpoint."""
        return {*self.entries, *self.own, *self.left}

    def fill(
        self, state: dict[str, Tensor], own: Mapping[str, Tensor], source: Mapping[str, Tensor]
    ) -> None:
        """Write what the model starts from into a state dict that is going to be loaded into it.

        Args:
            state (dict[str, Tensor]): Changed in place.
            own (Mapping[str, Tensor]): The state dict of the model, initialized. What is without
                values there is left as it is: another process has them.
            source (Mapping[str, Tensor]): The state dict of the checkpoint, under the same keys.
        """
        # `state` may be `source`, and one tensor stand under several keys.
        filled = {
            key: _with_entries(own[key], source.get(key), self.entries.get(key, {}))
            for key in self.changed
            if key in own and not own[key].is_meta and (key in source or key not in self.entries)
        }
        state.update(filled)

    def config_there(self, cfg: Config) -> Config:
        """Return the config of the model that the checkpoint is of, without anything but a model.

        Args:
            cfg (Config): The config of this one.
        """
        for lists in self.lists:
            cfg = with_counts(cfg, lists.places, len(lists.there) - len(lists.here))
        return cfg


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
    for kind, names in here.items():
        lists = [
            Lists('keypoints' if kind == 'keypoints' else 'classes', names, option[kind], places)
            for option in options
            if option.get(kind, names) != names
            for places in [places_of_count(cfg.model, kind, len(names))]
            if places
        ]
        lists = [one for one in lists if one.common or (there and one.near)]
        if lists:
            _find_entries(kept, model, cfg, lists, tensors, bool(there))
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
    options: list[Lists],
    tensors: Mapping[str, Tensor],
    is_said: bool,
) -> None:
    lists = options[0]
    try:
        found = find_class_tensors(model, cfg, lists.places, len(lists.here))
    except Exception as error:  # whatever the constructors of a model say
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        kept.unreliable.append(
            f'the model cannot be built for one class more, which would show the rows of each '
            f'class: {reason}'
        )
        return
    found = {key: tensor for key, tensor in found.items() if key in tensors}
    known = {key: tensor for key, tensor in found.items() if not tensor.why_not}

    def fitting(option: Lists) -> set[str]:
        count = len(option.there)
        return {key for key, t in known.items() if t.shape_for(count) == tensors[key].shape}

    if not is_said:  # one that fits in all
        fits = [option for option in options if known and len(fitting(option)) == len(known)]
        if not fits:
            return
        lists = fits[0]
    if not found:
        return
    fit = fitting(lists)
    if known and not fit:
        key, tensor = next(iter(known.items()))
        kept.unreliable.append(
            f'it names {len(lists.there)} {lists.what}, but {key} has the shape '
            f'{tuple(tensors[key].shape)} there, not {tuple(tensor.shape_for(len(lists.there)))}'
        )
        return
    kept.lists.append(lists)
    if not lists.common:
        return  # only to say what is near
    kept.tensors.update(found)
    rows = [[names.index(name) for name in lists.common] for names in (lists.there, lists.here)]
    counts = len(lists.there), len(lists.here)
    parameters = {key for key, _ in model.named_parameters(remove_duplicate=False)}
    for key, tensor in found.items():
        module = model.get_submodule(key.rpartition('.')[0])
        if key not in parameters and not is_norm(module):
            kept.own.add(key)
        elif key in fit:
            kept.entries[key] = {
                axis: (layout.entries(rows[0], counts[0]), layout.entries(rows[1], counts[1]))
                for axis, layout in tensor.layouts.items()
            }
        else:
            kept.left[key] = tensor.why_not or 'it has another shape in other respects'
    kept.own |= {key for key in tensors if is_of_the_data(model, key)}


def _with_entries(own: Tensor, source: Tensor | None, entries: _Entries) -> Tensor:
    """Return a copy of a tensor with some entries of another one."""
    value = own.detach().clone()
    if source is None or not entries:
        return value
    taken = source.detach().to(value)
    places = []
    for axis, length in enumerate(value.shape):
        there, here = entries.get(axis, (None, range(length)))
        if there is not None:
            taken = taken.index_select(axis, torch.tensor(there, device=value.device))
        shape = [-1 if other == axis else 1 for other in range(value.dim())]
        places.append(torch.tensor([*here], device=value.device).view(shape))
    value[tuple(places)] = taken
    return value


def _once(names: Iterable[str]) -> set[str]:
    return {name for name, count in Counter(names).items() if count == 1}


def _plain(name: str) -> str:
    return re.sub(r'[\s_-]+', '', name).casefold()
