"""What autograd keeps, kept in the memory of the CPU."""

import weakref
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.weak import WeakIdKeyDictionary

# The encoder's output is an input of every layer of a DETR's decoder: one copy serves all of them.
_COPIES: WeakIdKeyDictionary = WeakIdKeyDictionary()


def inputs_on_cpu(leaves: list) -> AbstractContextManager:
    """Return a context in which what autograd keeps is copied to the CPU, and brought back for use.

    Like ``torch.autograd.graph.save_on_cpu``, but strides stay, which kernels are chosen by, and
    tensors that are kept several times are copied once.

    Args:
        leaves (list): The inputs of a block. If no tensor among them is on an accelerator there is
            nothing to do.
    """
    if any(isinstance(leaf, Tensor) and is_elsewhere(leaf) for leaf in leaves):
        return saved_tensors_hooks(_to_cpu, _back)
    return nullcontext()


def is_elsewhere(tensor: Tensor) -> bool:
    """Return whether a tensor takes memory of an accelerator."""
    return tensor.device.type not in ('cpu', 'meta')


def _to_cpu(tensor: Tensor) -> tuple[torch.device, Tensor]:
    version, known = _COPIES.get(tensor, (None, None))
    copy = None if known is None or version != tensor._version else known()
    if copy is None:
        copy = torch.empty_like(tensor, device='cpu', pin_memory=tensor.is_cuda)
        copy.copy_(tensor.detach())
        _COPIES[tensor] = tensor._version, weakref.ref(copy)
    return tensor.device, copy


def _back(kept: tuple[torch.device, Tensor]) -> Tensor:
    device, copy = kept
    # From pinned memory, in the order of the stream that uses it. A copy even on the CPU: what it
    # is given to may write into it, and it may be needed again.
    return torch.empty_like(copy, device=device).copy_(copy, non_blocking=copy.is_pinned())
