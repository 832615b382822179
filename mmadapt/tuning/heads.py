"""Which part of a model is its head, and what becomes of it.

A frozen, randomly initialised prediction layer predicts nothing, whatever the rest of the model
learns; so a head is never frozen unless asked for.
"""

import re

from torch import nn

from ..errors import UserError

_HEAD = re.compile(r'(.*_)?heads?')


def find_heads(model: nn.Module) -> dict[str, nn.Module]:
    """Return the heads of an OpenMMLab model: its children called ``head`` or ``..._head``."""
    return {name: child for name, child in model.named_children() if _HEAD.fullmatch(name)}


def resolve_head_policy(policy, heads: dict[str, nn.Module], has_method: bool):
    """Return what ``peft.head`` means for a model with these heads.

    Args:
        policy (str or list): The value of ``peft.head``.
        heads (dict[str, nn.Module]): The result of :func:`find_heads`.
        has_method (bool): Whether there is an adapter method.

    Returns:
        tuple: The policy (``'train'``, ``'adapt'``, ``'freeze'`` or the list) and a word on why.

    Raises:
        UserError: ``'adapt'`` without a method.
    """
    if policy == 'adapt' and not has_method:
        raise UserError("peft.head='adapt' needs a peft.method to adapt it with; "
                        "without one write head='train' or head='freeze'")
    if policy != 'auto':
        return policy, 'peft.head'
    if not has_method:
        return 'train', 'head, no method'
    one_stage = 'bbox_head' in heads and not {'roi_head', 'rpn_head'} & set(heads)
    return ('train', 'one-stage head') if one_stage else ('adapt', 'head')
