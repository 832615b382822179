"""Which modules of a detector have to compute in float32 under autocast: ``fp32_modules='auto'``.

Told by the classes that a model is built of, so that a detector of one's own has the islands of
those whose parts it takes. Three kinds of things need float32: kernels of MMCV, which take no
bfloat16; what boxes, masks, matching and losses are computed from; and what tells positions, since
bfloat16 has 8 bits, up to 2.6 of 1333 pixels.
"""

from collections.abc import Iterator

from torch import nn

from .matching import class_names

AUTO = 'auto'
# Of these the named layers suffice. Behind the last layers of these heads are elementwise
# operations only. Others also compute products of matrices with what they predict (the integral of
# GFL, dynamic convolutions), which autocast would round again, and are islands as a whole.
_LAYERS = dict(
    RPNHead=('rpn_cls', 'rpn_reg'),
    BBoxHead=('fc_cls', 'fc_reg'),
    FCNMaskHead=('conv_logits',),
    FusedSemanticHead=('conv_logits',),
    BaseSemanticHead=('conv_logits',),
    RTMDetHead=('rtm_cls', 'rtm_reg'),
    # Where boxes start, which no later layer makes exact again.
    DeformableDETR=('reference_points_fc',),
    ConditionalDetrTransformerDecoder=('ref_point_head',),
)
# Their subclasses that compute more than that.
_NOT_ONLY = ('RTMDetInsHead', 'MultiInstanceBBoxHead', 'GARPNHead', 'StageCascadeRPNHead')
# Whole transformers, which predict no boxes: matching and losses alone need float32.
_LOSSES = ('MaskFormerHead',)
_WHOLE = ('BaseDenseHead', 'DETRHead', 'BaseMaskHead', 'BaseRoIExtractor')
# Ratios that scale reference points are of the type of the feature maps; on a GPU autocast does
# this to norms itself.
_DEFORMABLE = ('DeformableDETR',)


def find_islands(model: nn.Module) -> dict[str, nn.Module]:
    """Return the modules of a model that have to compute in float32 under autocast.

    Args:
        model (nn.Module): The model, not wrapped.

    Returns:
        dict[str, nn.Module]: The outermost ones by their full name, in the order of the model;
        none where all of it may compute in a low precision.
    """
    islands, inside = {}, set[nn.Module]()
    for name, module in _needing(model):
        if module not in inside:
            islands[name] = module
            inside.update(module.modules())
    return islands


def find_losses(model: nn.Module) -> dict[str, nn.Module]:
    """Return the heads of which only ``loss_by_feat`` has to compute in float32, by their name."""
    return {
        name: module
        for name, module in model.named_modules()
        if any(kind in class_names(module) for kind in _LOSSES)
    }


def _needing(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    heads = {
        head
        for module in model.modules()
        if 'BaseRoIHead' in class_names(module)
        for name, part in module.named_children()
        if name != 'shared_head'
        for head in (part if isinstance(part, nn.ModuleList) else [part])
    }
    deformable: set[nn.Module] = set()
    for name, module in model.named_modules():
        kinds = class_names(module)
        if any(kind in kinds for kind in _DEFORMABLE):
            deformable.update(
                norm
                for part in [module.neck]
                for norm in part.modules()
                if isinstance(norm, nn.GroupNorm)
            )
        layers = _layers(module, kinds)
        if layers:
            yield from ((f'{name}.{key}'.lstrip('.'), layer) for key, layer in layers.items())
        elif (
            module in heads
            or module in deformable
            or _is_kernel(module)
            or any(kind in kinds for kind in _WHOLE)
            and not any(kind in kinds for kind in _LOSSES)
        ):
            yield name, module


def _layers(module: nn.Module, kinds: list[str]) -> dict[str, nn.Module]:
    """Return the layers of a module that needs no more of it; nothing if it is none of these."""
    if any(kind in kinds for kind in _NOT_ONLY):
        return {}
    for kind in kinds:
        wanted = _LAYERS.get(kind, ())
        found = {key: getattr(module, key, None) for key in wanted}
        layers = {key: layer for key, layer in found.items() if isinstance(layer, nn.Module)}
        if wanted and len(layers) == len(wanted):
            return layers
    return {}


def _is_kernel(module: nn.Module) -> bool:
    return any(cls.__module__.startswith('mmcv.ops') for cls in type(module).__mro__)
