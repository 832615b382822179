"""What the prediction layers of a training start from, by the names of their classes."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from mmengine.config import Config
from torch import Tensor

from .counted import ClassTensor, with_counts

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
        once = _once(self.here) & _once(self.there)
        return [name for name in self.here if name in once]

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
