"""Operations that would drop an adapter without a word, and how they are kept from it.

Some read a layer's weight and build another layer of it: RepVGG's ``switch_to_deploy``,
``revert_sync_batchnorm``, ``fuse_conv_bn``, transformers' ``resize_token_embeddings``. Those that
can be stopped are stopped; that the others have run is noticed before the model is used.
"""

import functools
import inspect
from dataclasses import dataclass
from typing import Any

from torch import nn

from ..adapters import AdapterLayer
from ..errors import UserError
from .state import get_state

# Of RepVGG and others, of timm's reparameterized models, of text models, of timm's classifiers.
_REBUILDERS = (
    'switch_to_deploy',
    'convert_to_deploy',
    'reparameterize',
    'fuse',
    'prune_heads',
    'resize_token_embeddings',
    'resize_decoder_token_embeddings',
    'reset_classifier',
)


@dataclass
class Refusal:
    """Stands in the place of a method that must not be called while there are adapters.

    Attributes:
        owner (str): The class of the module.
        name (str): The method.
    """

    owner: str
    name: str

    def __call__(self, *args, **kwargs):
        """Refuse.

        Raises:
            UserError: Always.
        """
        raise UserError(
            f'{self.owner}.{self.name} builds new layers in the place of adapted ones, '
            'without their adapters; call it before mmadapt.inject, or '
            'mmadapt.merge(model) before it'
        )


def put_up_guards(model: nn.Module) -> None:
    """Refuse calls of what would rebuild adapted layers of a model."""
    for module in model.modules():
        kind: Any = type(module)
        names = _rebuilders(kind)
        if names and any(isinstance(m, AdapterLayer) for m in module.modules()):
            for name in names:
                setattr(module, name, Refusal(kind.__name__, name))


@functools.cache
def _rebuilders(kind: Any) -> list[str]:
    found = [name for name in _REBUILDERS if callable(getattr(kind, name, None))]
    # What takes something else fuses that, as part of a forward.
    if 'fuse' in found and list(inspect.signature(kind.fuse).parameters) != ['self']:
        found.remove('fuse')
    return found


def take_down_guards(model: nn.Module) -> None:
    """Undo :func:`put_up_guards`."""
    for module in model.modules():
        for name in _REBUILDERS:
            if isinstance(module.__dict__.get(name), Refusal):
                delattr(module, name)


def check_intact(model: nn.Module) -> None:
    """Check that every layer that was adapted still is.

    Args:
        model (nn.Module): Any model; one that is not adapted, or merged, passes.

    Raises:
        UserError: A layer has been replaced by another, which has no adapter.
    """
    state = get_state(model)
    if state is None or state.merged is not None:
        return
    modules = dict(model.named_modules(remove_duplicate=False))
    for name in state.adapted:
        if not isinstance(modules.get(name), AdapterLayer):
            raise UserError(
                f'{name} has lost its adapter: something has put a '
                f'{type(modules.get(name)).__name__} into its place after it was '
                'adapted (revert_sync_batchnorm or the like); do that before, or after '
                'mmadapt.merge(model)'
            )
