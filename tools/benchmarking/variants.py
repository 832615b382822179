"""A model made ready for one row: adapted, with its optimizer, and how it is merged."""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

import torch
from torch import nn

import mmadapt
from mmadapt.adapters import AdapterLayer
from mmadapt.memory import MemoryConfig, apply_memory
from mmadapt.memory.rematerialize import levels_of

from .baselines import adapt_by_hugging_face, adapt_by_mmpretrain
from .cases import Case
from .rows import Row

LR, REPEATS = 1e-6, 3


@dataclass
class Variant:
    """A model that is fine-tuned in one way.

    Args:
        row (Row): The way.
        model (nn.Module): The model, in training mode.
        merge (callable, optional): Writes the adapters into the weights of ``model``, in place;
            None where there is nothing to write or no way to do it.
        adapters (list[nn.Parameter]): The tensors that the method adds.
        notes (list[str]): What a reader of the row must know.
        injection (float, optional): Seconds that adapting the model took.
    """

    row: Row
    model: nn.Module
    merge: Callable[[], object] | None = None
    adapters: list = field(default_factory=list)
    notes: list = field(default_factory=list)
    injection: float | None = None

    def __post_init__(self) -> None:
        self.model.train()
        # The rate is small so that nothing diverges on noise; the time does not depend on it.
        self.optimizer = torch.optim.AdamW(
            [p for p in self.model.parameters() if p.requires_grad], lr=LR
        )

    @torch.no_grad()
    def perturb(self) -> None:
        """Move the adapters from where they start, as training would: merging 0 is no test."""
        for parameter in self.adapters:
            scale = parameter.square().mean().sqrt().item()
            parameter.add_(torch.randn_like(parameter), alpha=0.05 * scale if scale else 0.02)


def build_variant(row: Row, case: Case) -> Variant:
    """Adapt a copy of a case's model in the way of a row.

    Raises:
        UserError: The row cannot be had for this model.
    """
    if row.kind == 'full':
        model = copy.deepcopy(case.model)
        _rematerialize(model, row.remade)
        return Variant(row, model)
    adapt = dict(peft=_adapt_by_ours, hf=adapt_by_hugging_face, mmpretrain=adapt_by_mmpretrain)[
        row.kind
    ]
    times = []
    for _ in range(REPEATS):
        model = copy.deepcopy(case.model)
        start = time.perf_counter()
        merge, adapters, notes = adapt(model, row)
        times.append(time.perf_counter() - start)
    _rematerialize(model, row.remade)
    return Variant(row, model, merge, adapters, notes, median(times) if adapters else None)


def _rematerialize(model: nn.Module, remade: str) -> None:
    levels = dict(nothing=False, cheap=True, all=levels_of(model))[remade]
    apply_memory(model, MemoryConfig(rematerialize=levels))


def _adapt_by_ours(model: nn.Module, row: Row) -> tuple:
    # As in training by a runner: no copies of the base values of what trains fully.
    mmadapt.inject(model, dict(row.peft, allow_random_base=True), keep_base=False)
    adapters = [
        parameter
        for layer in model.modules()
        if isinstance(layer, AdapterLayer)
        for name, parameter in layer.named_parameters(recurse=False)
        if name in layer.adapter_names
    ]
    return (lambda: mmadapt.merge(model)) if adapters else None, adapters, []
