"""The door to the ``memory`` key: for the hook, for strategies, and for code without a runner."""

from collections import Counter
from collections.abc import Sequence
from weakref import WeakKeyDictionary

from torch import nn

from ..errors import UserError
from .blocks import find_blocks, outermost
from .checkpointing import recompute
from .config import MemoryConfig
from .inherited import modules_named, recompute_themselves, take_over
from .rematerialize import LEVELS, Rematerialization, compiled_parts

_APPLIED: WeakKeyDictionary = WeakKeyDictionary()


def apply_memory(
    model: nn.Module, config: MemoryConfig, activation_checkpointing: str | Sequence[str] = ()
) -> list[str]:
    """Let a model train in less memory, in place.

    What it computes, its keys and its parameters stay. Adapters may come before or after; what
    wraps or shards the model comes after. A second call with the same arguments does nothing.

    Args:
        model (nn.Module): The model, not wrapped.
        config (MemoryConfig): The value of ``memory``.
        activation_checkpointing (str or list[str]): The config's key of this name, which MMEngine
            then must not see. Defaults to none.

    Returns:
        list[str]: Lines for the log.

    Raises:
        UserError: A name means nothing in this model, or other arguments were applied to it before.
    """
    if isinstance(activation_checkpointing, str):
        activation_checkpointing = [activation_checkpointing]
    if model in _APPLIED:
        before, names = _APPLIED[model]
        if before != config or set(activation_checkpointing) != names:
            raise UserError(
                f'this {type(model).__name__} has been set up by another `memory`; build it anew'
            )
        return []
    named = find_blocks(model, config.checkpoint, config.every)
    asked = {
        'memory.checkpoint': named,
        'activation_checkpointing': modules_named(model, [*activation_checkpointing]),
        **take_over(model),
    }
    asked = {key: blocks for key, blocks in asked.items() if blocks}
    blocks = outermost(model, {block for blocks in asked.values() for block in blocks})
    if config.offload and not blocks:
        raise UserError(
            'memory.offload=True keeps the inputs of recomputed blocks on the CPU, and '
            'none is recomputed: name them in memory.checkpoint'
        )
    lines, own = [], recompute_themselves(model)
    if own:
        lines.append(
            f'memory: with_cp stays on in {_kinds(own)}: they are entered by rfp_forward '
            'too, and only they themselves recompute that'
        )
    if config.fp32_modules:
        from .islands import keep_float32

        islands = keep_float32(model, config.fp32_modules)
        lines.append(
            'memory: float32 under autocast: '
            + (', '.join(islands) or f'nothing, no part of this {type(model).__name__} needs it')
        )
    for block in blocks:
        recompute(block, config.offload)
    lines += _rematerialize(model, config.rematerialize)
    _APPLIED[model] = config, set(activation_checkpointing)
    return (_recomputed(blocks, asked, config.offload) if blocks or not lines else []) + lines


def _rematerialize(model: nn.Module, asked: bool | list[str]) -> list[str]:
    if asked is False:
        return []
    compiled = compiled_parts(model)
    if compiled:
        return [
            f'memory: rematerialize steps aside: {", ".join(compiled)} is compiled, and '
            'torch.compile chooses itself what it keeps'
        ]
    if any(p.device.type not in ('cpu', 'cuda') for p in model.parameters()):
        return [
            'memory: rematerialize steps aside: it knows the random numbers of CPUs and CUDA alone'
        ]
    levels = [] if asked is True else asked
    further = [f', {LEVELS[level]}' for level in levels]
    Rematerialization(levels).attach(model)
    return [
        'memory: made again in the backward pass: what is cheap to make from what is kept'
        + ''.join(further)
    ]


def _recomputed(
    blocks: list[nn.Module], asked: dict[str, list[nn.Module]], offload: bool
) -> list[str]:
    if not blocks:
        return ['memory: no activations are recomputed']
    where = ', their inputs kept on the CPU' if offload else ''
    lines = [f'memory: recomputed in the backward pass{where}: {_kinds(blocks)}']
    for key, wanted in asked.items():
        within = set(wanted) - set(blocks)
        if within:
            lines.append(
                f'memory: {_kinds(within)} of {key} are within these and recomputed with them'
            )
        if key != 'memory.checkpoint':
            lines.append(f'memory: {key} is taken over, for {_kinds(wanted)}')
    return lines


def _kinds(modules) -> str:
    counts = Counter(type(m).__name__ for m in modules)
    return ', '.join(f'{count} {kind}' for kind, count in sorted(counts.items()))
