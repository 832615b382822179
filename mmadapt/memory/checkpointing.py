"""Activation checkpointing that adapters survive.

MMEngine's ``activation_checkpointing`` is reentrant: autograd sees a checkpointed module only if an
input of it requires a gradient. An image does not, so the adapters of a checkpointed backbone would
never train. The non-reentrant form has no such condition.
"""

import functools
from contextlib import contextmanager, nullcontext
from difflib import get_close_matches

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import checkpoint

from ..errors import UserError


def checkpoint_activations(model: nn.Module, names) -> None:
    """Recompute the activations of modules in the backward pass instead of keeping them.

    Losses, gradients and norm statistics are what they are without it.

    Args:
        model (nn.Module): The model, not wrapped.
        names (str or list[str]): Names of modules, as in MMEngine's ``activation_checkpointing``.

    Raises:
        UserError: There is no module of such a name.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    chosen = {}
    for name in [names] if isinstance(names, str) else names:
        if name not in modules:
            near = get_close_matches(name, modules, n=3, cutoff=0.0)
            raise UserError(f'activation_checkpointing: there is no module {name!r}; nearest: '
                            f'{", ".join(map(repr, near))}')
        chosen[modules[name]] = None
    for module in chosen:
        recomputed = functools.partial(
            checkpoint, module.forward, use_reentrant=False,
            context_fn=functools.partial(_contexts, module))
        # Not by plain assignment, which an adapted layer refuses: this forward knows its adapter.
        object.__setattr__(module, 'forward', recomputed)


def _contexts(module: nn.Module):
    return nullcontext(), _statistics_at_rest(module)


@contextmanager
def _statistics_at_rest(module: nn.Module):
    """Keep norm statistics from being updated a second time while activations are recomputed."""
    norms = [m for m in module.modules()
             if isinstance(m, _NormBase) and m.training and m.track_running_stats]
    momenta = [m.momentum for m in norms]
    counters = [m.num_batches_tracked.clone() for m in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum, counter in zip(norms, momenta, counters, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(counter)
