"""Gradient checkpointing of transformers, by which adapters would get no gradient.

Up to its version 4 it is the reentrant form, which sees a block only if an input of the block
requires a gradient. Behind a frozen embedding none does: the adapters in the block stay at rest,
without a word where a head trains. The other form computes the same and needs no such input.
"""

import functools
from dataclasses import dataclass

from torch import nn
from torch.utils.checkpoint import checkpoint

_FUNCTION = '_gradient_checkpointing_func'
_SETTER = '_set_gradient_checkpointing'


@dataclass
class NotReentrant:
    """Stands in the place of the method by which a model of transformers sets its checkpointing.

    Attributes:
        model (nn.Module): The model.
    """

    model: nn.Module

    def __call__(self, *args, **kwargs) -> None:
        """Set it as the model does, in the form in which adapters train."""
        getattr(type(self.model), _SETTER)(self.model, *args, **kwargs)
        for module in self.model.modules():
            _change_form(module)


def let_gradients_pass(model: nn.Module) -> None:
    """Let adapters train where transformers recomputes, whether that is on or is switched on later.

    Args:
        model (nn.Module): A model, adapted.
    """
    for module in model.modules():
        _change_form(module)
        if callable(getattr(type(module), _SETTER, None)):
            setattr(module, _SETTER, NotReentrant(module))


def _change_form(module: nn.Module) -> None:
    function = vars(module).get(_FUNCTION)
    if function is checkpoint:
        function = functools.partial(checkpoint)
    if (
        isinstance(function, functools.partial)
        and function.keywords.get('use_reentrant') is not False
    ):
        setattr(module, _FUNCTION, functools.partial(function, use_reentrant=False))
