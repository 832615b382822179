"""Which recipes fit a card: what a step needs, divided among processes, by closed formulas."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mmadapt import UserError

from .needs import Needs

# Of activations: kernels' workspaces, what is rounded up and left free between tensors. With it and
# the next, six figures that others measured for DINO-5scale Swin-L on A100s are reached
# (projects/example_largemodel/README.md).
MARGIN = 0.2
# CUDA's context, and the libraries that it loads.
CONTEXT = 2**30
_FLOAT = 4
_UNITS = dict(KiB=2**10, MiB=2**20, GiB=2**30, TiB=2**40, KB=10**3, MB=10**6, GB=10**9, TB=10**12)
# DeepSpeed 0.19's own, in numbers of elements.
_BUCKET, _PREFETCH, _LIVE = 500_000_000, 50_000_000, 1_000_000_000


@dataclass(frozen=True)
class Demand:
    """The bytes that one process of a run needs at its peak.

    Args:
        weights (int): Weights, buffers and their moving average.
        gradients (int): Gradients.
        optimizer (int): The optimiser's state.
        exchange (int): What processes hand each other: buckets, and weights gathered for a while.
        activations (int): What is kept for backward and being computed.
    """

    weights: int
    gradients: int
    optimizer: int
    exchange: int
    activations: int

    @property
    def total(self) -> int:
        """int: All of it."""
        return (self.weights + self.gradients + self.optimizer + self.exchange + self.activations)

    @property
    def margin(self) -> int:
        """int: What is to be left free beside it."""
        return CONTEXT + round(MARGIN * self.activations)


def demand(needs: Needs, kind: str | None, zero: Mapping, processes: int) -> Demand:
    """Return what a process needs under a strategy.

    With weights P, trained ones T, optimiser state O, N processes:

    * one process, and DDP: P, T and O whole; DDP's buckets hold the gradients once more, T.
    * FSDP2: P/N, T/N and O/N. Beside them are whole: the weights in no block, those of the block
      that computes and of the next one, and the gradients of all these.
    * ZeRO-1: as ZeRO-2, with T whole.
    * ZeRO-2: P whole; T/N and O/N, and with the state a copy of the trained weights, T/N. The
      bucket of gradients (``reduce_bucket_size``), twice with ``overlap_comm``.
    * ZeRO-3: P/N, T/N and O/N. Weights are gathered until as many as ``stage3_max_live_parameters``
      and ``stage3_max_reuse_distance`` are; beside them the bucket of gradients.

    Args:
        needs (Needs): What a process that trains the whole model needs.
        kind (str, optional): One of :data:`~memory.recipes.STRATEGIES`; None is DDP where there are
            several processes.
        zero (dict): ``zero_optimization`` of a strategy of DeepSpeed's.
        processes (int): How many processes there are.
    """
    def part(size: int) -> int:
        return -(-size // processes)

    n, t, o = needs, needs.trained, needs.optimizer
    weights = n.parameters + n.average
    # A step begins when the activations are gone.
    activations = max(n.activations, n.step if kind in (None, 'ddp') else part(n.step))
    if kind in (None, 'ddp'):
        return Demand(weights, t, o, t if processes > 1 else 0, activations)
    if kind == 'fsdp2':
        gathered = n.rest + 2 * n.largest
        share = t / max(1, n.parameters)
        return Demand(part(weights), part(t), part(o), gathered + round(share * gathered),
                      activations)
    bucket = _FLOAT * int(zero.get('reduce_bucket_size', _BUCKET))
    if kind in ('zero1', 'zero2'):
        bucket *= 1 + bool(zero.get('overlap_comm', False))
        return Demand(weights, part(t) if kind == 'zero2' else t, part(o) + part(t), bucket,
                      activations)
    live = _FLOAT * int(max(
        min(zero.get('stage3_max_live_parameters', _LIVE),
            zero.get('stage3_max_reuse_distance', _LIVE)),
        zero.get('stage3_prefetch_bucket_size', _PREFETCH))) + n.largest
    return Demand(part(weights), part(t), part(o), min(n.parameters, live) + bucket, activations)


def recommend(rows: list[dict]) -> dict | None:
    """Return the row that fits and changes least; None if none fits.

    Of those that change as much it is the one that comes first.

    Args:
        rows (list[dict]): Rows with ``fits`` and ``changes``.
    """
    return min((row for row in rows if row['fits']), key=lambda row: row['changes'], default=None)


def parse_memory(text: str) -> int:
    """Read an amount of memory, such as ``24GiB``; returns bytes.

    Raises:
        UserError: It is none.
    """
    match = re.fullmatch(r'(\d+(?:\.\d+)?) ?([A-Za-z]+)', text)
    unit = match and next((u for u in _UNITS if u.lower() == match[2].lower()), None)
    if not unit or float(match[1]) <= 0:
        raise UserError(f'--memory {text}: not an amount of memory; write a number and one of '
                        f'{", ".join(_UNITS)}, such as 24GiB')
    return round(float(match[1]) * _UNITS[unit])
