"""Recomputation that a model or its config asks for by other means.

Blocks of MMDetection's backbones call reentrant checkpointing themselves (``with_cp``; in some
layers of MMPretrain and MMDetection ``use_checkpoint``), and only if their input requires a
gradient: not behind an image or a frozen stem. The layers of its
transformers (``num_cp``) are wrapped by fairscale, which recomputes in float16 whatever autocast
computed in, and whose copies run the weights of the original. All of them are recomputed by
:mod:`~mmadapt.memory.checkpointing` instead.
"""

import functools

from torch import nn

from ..errors import UserError
from ..values import nearest
from .blocks import recomputable
from .checkpointing import is_recomputed, keep_activations, recompute

_FAIRSCALE = 'fairscale.nn.checkpoint.'
_FLAGS = ('with_cp', 'use_checkpoint')


def asks_for_recomputation(model: nn.Module) -> bool:
    """Return whether something in a model is recomputed, or would be, by whatever means."""
    return any(_flag_of(m) or is_recomputed(m) or _is_of_fairscale(m) for m in model.modules())


def take_over(model: nn.Module) -> dict[str, list[nn.Module]]:
    """Switch off the recomputation that a model was built with.

    Not in the blocks of DetectoRS: where ``rfp_forward`` is called instead of ``forward`` only they
    themselves can recompute.

    Args:
        model (nn.Module): The model, not wrapped.

    Returns:
        dict[str, list[nn.Module]]: The blocks that were to be recomputed, by the argument of the
        model's config that asked for it.
    """
    unwrap_fairscale(model)
    layers = [m for m in model.modules() if is_recomputed(m)]
    for layer in layers:
        keep_activations(layer)
    flagged = {m: flag for m in model.modules() if (flag := _flag_of(m))}
    # A backbone has the flag too, and hands it on to its blocks.
    blocks = {
        m: flag
        for m, flag in flagged.items()
        if not any(_flag_of(inner) for inner in m.modules() if inner is not m)
    }
    own = {m for m in blocks if hasattr(m, 'rfp_forward')}
    for module, flag in flagged.items():
        setattr(module, flag, module in own)
    asked = {
        flag: [m for m, of in blocks.items() if of == flag and m not in own] for flag in _FLAGS
    }
    return dict(asked, num_cp=layers)


def recompute_themselves(model: nn.Module) -> list[nn.Module]:
    """Return the blocks whose ``with_cp`` :func:`take_over` has left on."""
    return [m for m in model.modules() if vars(m).get('with_cp')]


def unwrap_fairscale(model: nn.Module) -> None:
    """Let what fairscale's ``checkpoint_wrapper`` has wrapped be recomputed by this package."""
    for module in model.modules():
        if _is_of_fairscale(module):
            del module.forward
            for norm in module.modules():
                for hooks in (norm._forward_pre_hooks, norm._forward_hooks):
                    for key in [k for k, hook in hooks.items() if _has_made(hook)]:
                        del hooks[key]
            recompute(module)


def modules_named(model: nn.Module, names: list[str]) -> list[nn.Module]:
    """Return the modules that MMEngine's ``activation_checkpointing`` names.

    Args:
        model (nn.Module): The model, not wrapped.
        names (list[str]): Full names of modules; a list of modules means those that are in it.

    Raises:
        UserError: There is no module of such a name, or it is never called.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    blocks = []
    for name in names:
        if name not in modules:
            raise UserError(
                f'activation_checkpointing: there is no module {name!r}; nearest: '
                f'{nearest(name, modules, most=3)}'
            )
        meant = [module for module, _ in recomputable(modules[name], name)]
        if not meant:
            raise UserError(
                f'activation_checkpointing: {name!r} is never called; name the modules '
                'that it consists of'
            )
        blocks += meant
    return blocks


def _flag_of(module: nn.Module) -> str | None:
    return next((flag for flag in _FLAGS if vars(module).get(flag) is True), None)


def _is_of_fairscale(module: nn.Module) -> bool:
    forward = vars(module).get('forward')
    return isinstance(forward, functools.partial) and _has_made(forward.func)


def _has_made(function) -> bool:
    return (getattr(function, '__module__', None) or '').startswith(_FAIRSCALE)
