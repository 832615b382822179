"""Layers that somebody looks at.

A convolution that computes its norm too has another output than it had, and its norm has nothing
to do: a hook on either would see other maps in training than in evaluation, or none at all. So the
two are computed apart while there is one.
"""

from torch import nn

_HOOKS = ('_forward_pre_hooks', '_forward_hooks', '_backward_pre_hooks', '_backward_hooks')


def is_watched(*layers: nn.Module) -> bool:
    """Return whether one of some layers has a hook at the moment."""
    return any(layer.__dict__[hooks] for layer in layers for hooks in _HOOKS)
