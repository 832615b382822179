"""Which part of a model is its head, and what becomes of it.

A frozen, randomly initialized prediction layer predicts nothing, whatever the rest of the model
learns. Therefore a layer that has no pretrained weight (the checkpoint lacks it, or holds it for
another number of classes) trains fully in every family and under every policy;
:class:`~mmadapt.peft.rules.Rules` sees to that first. For a head's other layers
``peft.head='auto'`` means:

========================================  =====================  =================================
models                                    heads                  what becomes of them
========================================  =====================  =================================
RTMDet, YOLOX, RetinaNet, FCOS, the DETR  ``bbox_head`` without  trained fully; in the DETR family
family, DINO: one-stage                   a ``roi_head``         that is 0.2 to 2 million
                                                                 parameters, the queries, encoder
                                                                 and decoder being body
Faster, Cascade, Mask R-CNN               ``rpn_head``,          adapted
                                          ``roi_head``
MaskFormer, Mask2Former                   ``panoptic_head``      adapted: it holds the pixel and
                                                                 the transformer decoder
MMSegmentation                            ``decode_head``,       adapted
                                          ``auxiliary_head``
MMPose, MMPretrain                        ``head``               adapted
text models                               ``lm_head``            adapted
anything else                             see                    trained fully and named in a
                                          :func:`guess_heads`    warning
========================================  =====================  =================================

Adapted means treated like the body: by ``peft.targets``, with the norms by ``peft.norm``. What no
adapter is put on stays frozen at its pretrained values: layers that a list of targets does not name
or that the method has no form for, and parameters that belong to no layer, such as ``Scale``.
"""

import re

from mmengine.model import BaseModel
from torch import nn

from ..errors import UserError
from ..norms import is_norm

_HEAD = re.compile(r'(.*_)?heads?')
_OUTPUT = re.compile(r'heads?|fc|(.*_)?classifier|predictor|logits|score|qa_outputs')
_BACKBONE = re.compile(r'backbone|encoder')
_BODY = re.compile(
    r'backbone|neck|fpn|coder|coding|embed|query|token|former|model|text|teacher'
    r'|target|(^|_)(enc|dec|trans)(_|$)'
)

# So few parameters may train fully, whatever they are.
_FEW = 10_000_000


def find_heads(model: nn.Module) -> dict[str, nn.Module]:
    """Return the heads of an OpenMMLab model: its children called ``head`` or ``..._head``.

    Those of the models inside it, as in a tracker or a teacher and its student, are among them;
    one without parameters (``panoptic_fusion_head``) is not. Where a model only wraps another one,
    they are those of that.
    """
    heads = {}
    for name, child in model.named_children():
        if _HEAD.fullmatch(name):
            if _count(child):
                heads[name] = child
        elif isinstance(child, BaseModel):
            heads.update(_find_inside(child, name))
    parts = {} if heads else _parts(model)
    if len(parts) != 1:
        return heads
    [(name, inner)] = parts.items()
    return _find_inside(inner, name)


def _find_inside(model: nn.Module, name: str) -> dict[str, nn.Module]:
    return {f'{name}.{inner}': head for inner, head in find_heads(model).items()}


def guess_heads(model: nn.Module) -> dict[str, nn.Module]:
    """Return what seems to be the head of a model that has none by OpenMMLab's names.

    In a model that has a ``backbone``, that is whatever is not called like a part of the body; in
    one of another library, or where the backbone is all there is, its ``fc``, ``classifier`` or the
    like. A part with more parameters than the rest is no head, unless they are few.
    """
    prefix, parts, inside_backbone = '', _parts(model), False
    # All there is may be a wrapped model (TimmClassifier) or a backbone that predicts (LeNet).
    while len(parts) == 1:
        name, only = parts.popitem()
        inside_backbone = inside_backbone or bool(_BACKBONE.search(name))
        prefix, parts = f'{prefix}{name}.', _parts(only)
    body = {name for name in parts if _BODY.search(name.lower())}
    heads = {name for name in parts if _OUTPUT.fullmatch(name)}
    has_backbone = any(_BACKBONE.search(name) for name in body)
    if not inside_backbone and (
        any('backbone' in name for name in body) or (has_backbone and not heads)
    ):
        heads = {name for name in parts if name not in body and not is_norm(parts[name])}
    else:
        body = set(parts) - heads
    limit = max(_FEW, sum(_count(parts[name]) for name in body))
    return {
        prefix + name: part
        for name, part in parts.items()
        if name in heads and body and _count(part) <= limit
    }


def head_warnings(model: nn.Module, guessed: dict[str, nn.Module], policy) -> list[str]:
    """Return what a user must know about a model for which :func:`find_heads` finds nothing.

    Args:
        model (nn.Module): The model.
        guessed (dict[str, nn.Module]): The result of :func:`guess_heads`.
        policy (str or list): The value of ``peft.head``.
    """
    if isinstance(policy, list) or policy == 'adapt':
        return []
    who = f'WARNING: {type(model).__name__} has no part called head'
    if guessed:
        what = 'kept frozen' if policy == 'freeze' else 'trained fully'
        return [
            f'{who}; taken for its head and {what}: {_sizes(guessed)}. If its prediction '
            'layers are others, name them in peft.head'
        ]
    last = dict(list(_parts(model).items())[-3:])
    return [
        f'{who} and none that could be taken for it: all of it is treated as its body. '
        'Name its prediction layers in peft.head'
        + (f'; it ends with {_sizes(last)}' if last else '')
    ]


def resolve_head_policy(
    policy, heads: dict[str, nn.Module], has_method: bool, guessed: bool = False
):
    """Return what ``peft.head`` means for a model with these heads.

    Args:
        policy (str or list): The value of ``peft.head``.
        heads (dict[str, nn.Module]): The result of :func:`find_heads` or :func:`guess_heads`.
        has_method (bool): Whether there is an adapter method.
        guessed (bool): Whether they are those of :func:`guess_heads`. Defaults to False.

    Returns:
        tuple: The policy (``'train'``, ``'adapt'``, ``'freeze'`` or the list) and a word on why.

    Raises:
        UserError: ``'adapt'`` without a method.
    """
    if policy == 'adapt' and not has_method:
        raise UserError(
            "peft.head='adapt' needs a peft.method to adapt it with; "
            "without one write head='train' or head='freeze'"
        )
    if policy != 'auto':
        return policy, 'peft.head'
    if not has_method:
        return 'train', 'head, no method'
    if guessed:
        return 'train', 'unknown head'
    kinds = {name.rpartition('.')[2] for name in heads}
    one_stage = 'bbox_head' in kinds and not {'roi_head', 'rpn_head'} & kinds
    return ('train', 'one-stage head') if one_stage else ('adapt', 'head')


def _parts(model: nn.Module) -> dict[str, nn.Module]:
    return {name: child for name, child in model.named_children() if _count(child)}


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _sizes(parts: dict[str, nn.Module]) -> str:
    return ', '.join(f'{name} ({_count(part):,} parameters)' for name, part in parts.items())
