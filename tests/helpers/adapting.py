"""Adapting the detectors of the zoo, and reaching into their adapters."""

import copy

import torch
from torch import Tensor, nn

from mmadapt import inject
from mmadapt.peft import require_state

METHODS = {'LoRA': dict(type='LoRA', r=4), 'DoRA': dict(type='DoRA', r=4), 'SSF': dict(type='SSF')}
EVERYWHERE = dict(head='adapt', targets='all')


def adapt(model: nn.Module, method: str, **peft) -> nn.Module:
    """Return an adapted copy of a model."""
    model = copy.deepcopy(model)
    inject(model, dict(peft, method=METHODS[method]))
    return model


def adapter_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return all tensors of the adapters of a model, by full name."""
    return {
        f'{name}.{key}': getattr(model.get_submodule(name), key)
        for name in require_state(model).adapted
        for key in model.get_submodule(name).adapter_names
    }


@torch.no_grad()
def perturb(model: nn.Module) -> None:
    """Add the same random numbers to all adapters of a model."""
    generator = torch.Generator().manual_seed(1)
    for tensor in adapter_tensors(model).values():
        tensor += 0.02 * torch.randn(tensor.shape, generator=generator).to(tensor)
