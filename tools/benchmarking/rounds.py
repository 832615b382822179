"""Steps of all variants in turn, so that what else the machine does meets all of them alike."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from mmengine.runner import set_random_seed
from torch import nn

from mmadapt.meters.peak import cpu_peak
from mmadapt.meters.step import (
    SavedForBackward,
    Stopwatch,
    bytes_of_file,
    bytes_of_optimizer,
)

from .cases import Case
from .variants import Variant


@dataclass
class Record:
    """What was measured of one variant so far.

    Attributes:
        steps (list[list[float]]): Seconds of forward, backward and optimizer in each round.
        processor (list[float]): Seconds of all cores that a step took in each round.
        inference (list[float]): Seconds of a forward pass of the merged model in each round.
        trainable (int): Number of parameters that train.
        total (int): Number of all parameters, the adapters' included.
        saved_bytes (int): Bytes kept for backward.
        peak_bytes (int): Memory that a step takes, model and optimizer included.
        optimizer_bytes (int): Bytes of the optimizer's state.
        file_bytes (int): Bytes of all that training changes.
        merge_error (float, optional): See :func:`~benchmarking.merged.merge_error`.
    """

    steps: list = field(default_factory=list)
    processor: list = field(default_factory=list)
    inference: list = field(default_factory=list)
    trainable: int = 0
    total: int = 0
    saved_bytes: int = 0
    peak_bytes: int = 0
    optimizer_bytes: int = 0
    file_bytes: int = 0
    merge_error: float | None = None


def rotated(items: Sequence, round_: int) -> list:
    """Return the items beginning with another one in each round, so that none is always first."""
    start = round_ % len(items)
    return [*items[start:], *items[:start]]


def training_step(variant: Variant, case: Case, seed: int, amp: bool) -> list[float]:
    """Make one step of training and return the seconds of forward, backward and optimizer."""
    set_random_seed(seed)
    watch = Stopwatch(case.device)
    with autocast(case, amp):
        loss = case.loss(variant.model)
    watch.mark()
    loss.backward()
    watch.mark()
    variant.optimizer.step()
    variant.optimizer.zero_grad()
    watch.mark()
    return watch.parts()


def first_step(variant: Variant, case: Case, amp: bool) -> Record:
    """Make one step of training and measure all but its time.

    Raises:
        FloatingPointError: The loss is not a finite number.
    """
    set_random_seed(0)
    parameters = list(variant.model.parameters())
    record = Record(
        trainable=sum(p.numel() for p in parameters if p.requires_grad),
        total=sum(p.numel() for p in parameters),
        file_bytes=bytes_of_file(variant.model),
    )
    with SavedForBackward(variant.model) as saved, autocast(case, amp):
        loss = case.loss(variant.model)
        record.saved_bytes = saved.bytes()
    if not loss.isfinite():
        raise FloatingPointError(f'its loss is {loss.item()}')
    loss.backward()
    variant.optimizer.step()
    variant.optimizer.zero_grad()
    record.optimizer_bytes = bytes_of_optimizer(variant.optimizer)
    record.peak_bytes = _peak_bytes(variant, case, record, amp)
    return record


def inference(model: nn.Module, case: Case, amp: bool) -> float:
    """Run a model on the batch and return the seconds that it took."""
    with torch.no_grad(), autocast(case, amp):
        watch = Stopwatch(case.device)
        case.outputs(model)
        watch.mark()
    return watch.parts()[0]


def autocast(case: Case, enabled: bool) -> torch.autocast:
    """Return the context of bfloat16 mixed precision; one without effect if not ``enabled``."""
    return torch.autocast(case.device.type, torch.bfloat16, enabled=enabled)


def compile_parts(model: nn.Module) -> None:
    """Compile backbone and neck, in place; what heads and losses do is Python for the most part."""
    for name in ('backbone', 'neck'):
        part = getattr(model, name, None)
        if part is not None:
            part.compile()


def _peak_bytes(variant: Variant, case: Case, record: Record, amp: bool) -> int:
    """Return what a step takes at its peak, without the other variants that wait in memory."""
    own = sum(
        t.nbytes for t in itertools.chain(variant.model.parameters(), variant.model.buffers())
    )
    return _peak_beside(variant, case, amp) + own + record.optimizer_bytes


def _peak_beside(variant: Variant, case: Case, amp: bool) -> int:
    if case.device.type == 'cpu':
        return cpu_peak(lambda: training_step(variant, case, 0, amp))
    torch.cuda.synchronize(case.device)
    torch.cuda.reset_peak_memory_stats(case.device)
    before = torch.cuda.memory_allocated(case.device)
    training_step(variant, case, 0, amp)
    return torch.cuda.max_memory_allocated(case.device) - before
