"""Which recipes fit a card: what a step needs, sharded among processes, by closed formulas."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..errors import UserError
from .needs import Needs

# Of activations: kernels' workspaces, what is rounded up and left free between tensors. 0.17 are
# enough, beside CONTEXT, for the eight peaks of DINO-5scale Swin-L that MMDetection's
# projects/example_largemodel has without DeepSpeed; docs/memory.md shows them beside the plan.
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
        optimizer (int): The optimizer's state.
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
        return self.weights + self.gradients + self.optimizer + self.exchange + self.activations

    @property
    def margin(self) -> int:
        """int: What is to be left free beside it."""
        return CONTEXT + round(MARGIN * self.activations)


def demand(needs: Needs, kind: str | None, settings: Mapping, processes: int) -> Demand:
    """Return what a process needs under a strategy.

    With weights P, trained ones T, optimizer state O, N processes:

    * one process, and DDP: P, T and O whole; DDP's buckets hold the gradients once more, T.
    * FSDP2: P/N, T/N and O/N, of N processes in R copies (``replicate``) with N/R for N. Beside
      them are whole: the weights in no block, those of the block that computes and of the next
      one (and of ``prefetch`` more), and the gradients of all these. Without
      ``reshard_after_forward`` P is whole too; with a number G of it, P/G.
    * ZeRO-1: as ZeRO-2, with T whole.
    * ZeRO-2: P whole; O/N, and with the state a copy of the trained weights, T/N. The gradients of
      every parameter of which the process has a part; as each group of the optimizer is sharded,
      that is nearly T where ``paramwise_cfg`` makes a group of each parameter. The bucket of
      gradients (``reduce_bucket_size``), twice with ``overlap_comm``.
    * ZeRO-3: P/N, T/N and O/N. Weights are gathered until as many as ``stage3_max_live_parameters``
      and ``stage3_max_reuse_distance`` are; beside them the bucket of gradients.

    Buffers and quantized weights are whole everywhere. What settings move to the memory of the CPU
    is counted as if it stayed.

    Args:
        needs (Needs): What a process that trains the whole model needs.
        kind (str, optional): One of :data:`~mmadapt.recipes.recipe.STRATEGIES`; None is DDP where
            there are several processes.
        settings (dict): As :func:`~mmadapt.recipes.strategies.strategy_of` returns them.
        processes (int): How many processes there are.
    """
    parts = processes // settings['replicate'] if kind == 'fsdp2' else processes

    def part(size: int) -> int:
        return -(-size // parts)

    n, t, o = needs, needs.trained, needs.optimizer
    weights, whole = (2 * n.parameters, 2 * n.whole) if n.average else (n.parameters, n.whole)
    sharded = whole + part(weights - whole)
    # A step begins when the activations are gone.
    activations = max(n.activations, n.step if kind in (None, 'ddp') else part(n.step))
    if kind in (None, 'ddp'):
        return Demand(weights, t, o, t if processes > 1 else 0, activations)
    if kind == 'fsdp2':
        gathered = n.rest + (2 + settings['prefetch']) * n.largest
        gradients = round(t / max(1, n.parameters) * gathered)
        group = settings['reshard_after_forward']
        if group is not True:
            gathered = min(
                gathered + (n.parameters - n.whole) // max(1, group), n.parameters - n.whole
            )
        return Demand(sharded, part(t), part(o), gathered + gradients, activations)
    zero = settings['zero_optimization']
    bucket = _FLOAT * int(zero.get('reduce_bucket_size', _BUCKET))
    if kind in ('zero1', 'zero2'):
        bucket *= 1 + bool(zero.get('overlap_comm', False))
        return Demand(
            weights,
            _in_part(n.groups, processes) if kind == 'zero2' else t,
            part(o) + part(t),
            bucket,
            activations,
        )
    live = (
        _FLOAT
        * int(
            max(
                min(
                    zero.get('stage3_max_live_parameters', _LIVE),
                    zero.get('stage3_max_reuse_distance', _LIVE),
                ),
                zero.get('stage3_prefetch_bucket_size', _PREFETCH),
            )
        )
        + n.largest
    )
    return Demand(sharded, part(t), part(o), min(n.parameters, live) + bucket, activations)


def _in_part(groups: Iterable[Sequence[int]], processes: int) -> int:
    """Return the sizes of the parameters of which one process has a part; of the one with most.

    As in ``copy_grads_in_partition`` of DeepSpeed 0.19's stage_1_and_2.py.
    """
    totals = [0] * processes
    for sizes in groups:
        share, start = -(-sum(sizes) // processes), 0
        for size in sizes:
            for rank in range(start // share, -(-(start + size) // share)):
                totals[rank] += size
            start += size
    return max(totals)


def recommend(rows: list[dict]) -> dict | None:
    """Return the row that fits and changes least; None if none fits.

    What trains something else, adapters, comes after all that trains the model. Of those that
    change as much it is the one that comes first.

    Args:
        rows (list[dict]): Rows with ``fits``, ``changes`` and ``tuning``.
    """
    return min(
        (row for row in rows if row['fits']),
        default=None,
        key=lambda row: (row['tuning'] is not None, row['changes']),
    )


def parse_memory(text: str) -> int:
    """Read an amount of memory.

    Args:
        text (str): Such as ``'24GiB'``.

    Returns:
        int: In bytes.

    Raises:
        UserError: It is none.
    """
    match = re.fullmatch(r'(\d+(?:\.\d+)?) ?([A-Za-z]+)', text)
    unit = match and next((u for u in _UNITS if u.lower() == match[2].lower()), None)
    if not match or not unit or float(match[1]) <= 0:
        raise UserError(
            f'--memory {text}: not an amount of memory; write a number and one of '
            f'{", ".join(_UNITS)}, such as 24GiB'
        )
    return round(float(match[1]) * _UNITS[unit])
