"""Activation checkpointing: what a block computed is computed again when its gradient is needed.

Losses, gradients, norm statistics, random numbers and keys stay what they are without it. It is the
non-reentrant form of ``torch.utils.checkpoint``. The reentrant one, which MMEngine's
``activation_checkpointing`` and the models' ``with_cp`` take, sees a block only if an input of it
requires a gradient; an image does not, so that the adapters of a backbone would never train.
"""

import functools
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_flatten, tree_unflatten
from torch.utils.checkpoint import checkpoint

from .offload import inputs_on_cpu


class Recomputed:
    """Stands in the place of a module's ``forward`` and recomputes it in the backward pass.

    Nothing is recomputed where no gradient is recorded. A copy of the module has a copy of this one
    that knows the copy.

    Args:
        module (nn.Module): The module.
        offload (bool): Whether its inputs wait on the CPU. Defaults to False.
    """

    def __init__(self, module: nn.Module, offload: bool = False) -> None:
        self.module = module
        self.offload = offload
        self.before = vars(module).get('forward')

    def __call__(self, *args, **kwargs):
        """Call the forward that the module would have."""
        # Looked up now: the class of an adapted layer changes when its adapter does.
        forward = self.before or functools.partial(type(self.module).forward, self.module)
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        if torch.compiler.is_compiling():
            if self.offload:
                return _not_compiled(self, *args, **kwargs)
            # A graph updates statistics once by itself, and takes no contexts.
            return checkpoint(forward, *args, use_reentrant=False, **kwargs)
        # Tensors inside of dicts, and those given by name, are arguments of their own. Otherwise
        # torch would not look for a device in them, and a DETR layer, which has no others, would
        # drop out other elements when it is recomputed on a GPU.
        leaves, form = tree_flatten((args, kwargs))
        given = [(args, kwargs)]

        def run(*leaves):
            # The first time the very lists and dicts of the caller, which may be written into.
            args, kwargs = given.pop() if given else tree_unflatten(leaves, form)
            return forward(*args, **kwargs)

        with inputs_on_cpu(leaves) if self.offload else nullcontext():
            return checkpoint(
                run,
                *leaves,
                use_reentrant=False,
                context_fn=lambda: (nullcontext(), StatisticsAtRest(self.module)),
            )


@torch.compiler.disable
def _not_compiled(forward: Recomputed, *args, **kwargs):
    return forward(*args, **kwargs)


class StatisticsAtRest:
    """Keeps the statistics of norms from being updated a second time by the same batch.

    A context that can be entered several times, one after the other, as a backward pass that
    retains its graph does.

    Args:
        module (nn.Module): What the norms are in.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def __enter__(self) -> None:
        modules: list[Any] = [*self._module.modules()]
        self._norms = [
            (m, m.momentum, m.num_batches_tracked.clone())
            for m in modules
            # Not by class: MMCV's SyncBatchNorm is none of torch's norms.
            if m.training and getattr(m, 'track_running_stats', False)
        ]
        # Neither not tracking nor eval mode: what is recomputed is to be what was computed, down to
        # the kernel. A running statistic plus 0 times a new one is what it was, bit by bit.
        for norm, _, _ in self._norms:
            norm.momentum = 0.0

    def __exit__(self, *error) -> None:
        for norm, momentum, counter in self._norms:
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(counter)


def recompute(module: nn.Module, offload: bool = False) -> None:
    """Recompute a module's activations in the backward pass instead of keeping them."""
    keep_activations(module)
    # Not by plain assignment, which an adapted layer refuses: this forward knows its adapter.
    vars(module)['forward'] = Recomputed(module, offload)


def keep_activations(module: nn.Module) -> None:
    """Undo :func:`recompute`; a module that is not recomputed stays as it is."""
    if is_recomputed(module):
        recomputed = vars(module).pop('forward')
        if recomputed.before is not None:
            vars(module)['forward'] = recomputed.before


def is_recomputed(module: nn.Module) -> bool:
    """Return whether :func:`recompute` was called for a module."""
    return isinstance(vars(module).get('forward'), Recomputed)
