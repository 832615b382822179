"""What a model computes with and no adapter can be put on, where that is much of it."""

import re
from collections import Counter
from collections.abc import Iterable

from torch import nn

# Tables that are added or looked up, and numbers for each channel, whatever their shape.
_NO_MATRIX = re.compile(
    '(?i)pos|embed|token|latent|quer|bias|level|mask|table|scale|prompt|decay|a_log'
)
_MUCH = 0.01  # of all parameters


def formless_warning(model: nn.Module, modules: Iterable[nn.Module], method: str) -> list[str]:
    """Return the line that names what stays frozen because a method has no form for it.

    Fused experts, recurrent layers, a library's own linear layers and convolutions. Found by shape:
    parameters of two dimensions or more.

    Args:
        model (nn.Module): The model.
        modules (Iterable[nn.Module]): Its modules that stay frozen for that reason.
        method (str): The method's name.
    """
    modules = list(modules)
    if not modules:
        return []
    inside = {m.out_proj for m in model.modules() if isinstance(m, nn.MultiheadAttention)}
    sizes: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for module in modules:
        kind = type(module).__name__
        size = sum(
            p.numel()
            for name, p in module.named_parameters(recurse=False)
            if sum(length > 1 for length in p.shape) > 1 and not _NO_MATRIX.search(name)
        )
        if size and module not in inside and not _NO_MATRIX.search(kind):
            sizes[kind] += size
            counts[kind] += 1
    total = sum(p.numel() for p in model.parameters())
    if sum(sizes.values()) < _MUCH * total:
        return []
    shown = ', '.join(
        f'{counts[kind]} {kind} ({100 * size / total:.1f} % of all parameters)'
        for kind, size in sizes.most_common(5)
    )
    return [f'WARNING: {method} has no form for {shown}: they stay frozen']
