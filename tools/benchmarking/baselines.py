"""The same fine-tuning by other libraries: Hugging Face's PEFT and MMPretrain's LoRAModel."""

import copy
import re
from collections import Counter

from mmcv.cnn.bricks.wrappers import Conv2d as MMCVConv2d
from mmcv.cnn.bricks.wrappers import Linear as MMCVLinear
from torch import nn

import mmadapt
from mmadapt import UserError
from mmadapt.norms import statistics_move

from .rows import Row

_LINEAR, _CONV = (nn.Linear, MMCVLinear), (nn.Conv2d, MMCVConv2d)


def adapt_by_hugging_face(model: nn.Module, row: Row) -> tuple:
    """Adapt a model by Hugging Face's PEFT, on the layers that mmadapt's LoRA adapts.

    Layers that it breaks are left alone. What mmadapt trains fully, such as the head, trains fully;
    norms are left in training mode, as PEFT leaves them.

    Args:
        model (nn.Module): A stock model; changed in place.
        row (Row): The row.

    Returns:
        tuple: A function that merges the adapters in place, their tensors, and notes.
    """
    from peft import LoraConfig
    from peft.tuners.lora import LoraModel

    layers, trained, notes = _plan(model, row, _why_not_hugging_face)
    method = row.peft['method']
    tuner = LoraModel(
        model,
        LoraConfig(
            r=method['r'],
            lora_alpha=method['alpha'],
            lora_dropout=method.get('dropout', 0.0),
            use_dora=row.dora,
            target_modules='|'.join(map(re.escape, layers)),
        ),
        'default',
    )
    if any(statistics_move(module) and module.training for module in model.train().modules()):
        notes.append('BatchNorm in training mode, as peft leaves it')
    return tuner.merge_and_unload, _finish(model, trained), notes


def adapt_by_mmpretrain(model: nn.Module, row: Row) -> tuple:
    """Adapt a model by MMPretrain's LoRAModel, which is for Linear layers and cannot merge.

    Args:
        model (nn.Module): A stock model; changed in place.
        row (Row): The row.

    Returns:
        tuple: None (there is no merging), the adapters' tensors, and notes.

    Raises:
        UserError: Most of the layers to be adapted are not Linear.
    """
    layers, trained, notes = _plan(model, row, _why_not_mmpretrain)
    method = row.peft['method']
    from mmpretrain.models.peft import LoRAModel

    def the_model():
        return model

    LoRAModel(
        module=dict(type=the_model),
        alpha=method['alpha'],
        rank=method['r'],
        targets=[dict(type=re.escape(name)) for name in layers],
    )
    return None, _finish(model, trained), [*notes, 'cannot merge']


def _plan(model: nn.Module, row: Row, why_not) -> tuple[list[str], set[str], list[str]]:
    """Return the layers to adapt, the parameters to train fully, and a note on what is left out."""
    ours = copy.deepcopy(model)
    report = mmadapt.inject(ours, dict(row.peft, allow_random_base=True))
    adapted = [layer for layer in report.layers if layer.action == 'adapt']
    reasons = {
        layer.name: why_not(model.get_submodule(layer.name), layer.names) for layer in adapted
    }
    layers = [name for name, reason in reasons.items() if reason is None]
    left_out = Counter(reason for reason in reasons.values() if reason)
    if len(layers) * 2 < len(adapted):
        raise UserError(f'it can adapt {len(layers)} of the {len(adapted)} layers')
    notes = (
        [
            f'{sum(left_out.values())} of {len(adapted)} layers left out: '
            + ', '.join(f'{count} {reason}' for reason, count in left_out.items())
        ]
        if left_out
        else []
    )
    adapters = {f'{layer.name}.' for layer in adapted}
    trained = {
        name
        for name, p in ours.named_parameters()
        if p.requires_grad and name.rpartition('.')[0] + '.' not in adapters
    }
    return layers, trained, notes


def _why_not_hugging_face(layer: nn.Module, names: int) -> str | None:
    if names > 1:
        return 'under several names'
    if type(layer) not in _LINEAR + _CONV:
        return type(layer).__name__
    if getattr(layer, 'groups', 1) > 1:
        return 'grouped'
    if type(layer) in _CONV and {layer.dilation, layer.padding_mode} != {(1, 1), 'zeros'}:
        return 'dilated or padded otherwise'
    return None


def _why_not_mmpretrain(layer: nn.Module, names: int) -> str | None:
    if names > 1:
        return 'under several names'
    return None if type(layer) in _LINEAR else type(layer).__name__


def _finish(model: nn.Module, trained: set[str]) -> list[nn.Parameter]:
    adapters = []
    for name, parameter in model.named_parameters():
        is_adapter = '.lora_' in name
        parameter.requires_grad_(is_adapter or name in trained)
        if is_adapter:
            adapters.append(parameter)
    return adapters
