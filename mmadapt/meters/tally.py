"""The bytes of weights, gradients and optimizer state that one process holds."""

from collections.abc import Iterable

from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from .step import SavedForBackward


class SavedActivations(SavedForBackward):
    """What autograd keeps beside weights, which a sharded model gathers into new tensors."""

    def _pack(self, tensor: Tensor):
        is_weight = any(isinstance(t, nn.Parameter) for t in (tensor, tensor._base))
        return super()._pack(tensor) if not is_weight else _Weight(tensor)


class _Weight:
    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor.detach()


def parameter_bytes(model: nn.Module) -> int:
    """Return the bytes of the weights of a model, frozen ones and buffers included."""
    tensors = [*model.parameters(), *model.buffers()]
    return _bytes(getattr(tensor, 'ds_tensor', tensor) for tensor in tensors)


def gradient_bytes(model: nn.Module, optimizer) -> int:
    """Return the bytes of the gradients that a step starts from.

    Args:
        model (nn.Module): The model.
        optimizer (torch.optim.Optimizer): Its optimizer, or DeepSpeed's around one.
    """
    averaged = getattr(optimizer, 'averaged_gradients', None) or {}
    sharded = [tensor for tensors in averaged.values() for tensor in tensors or ()]
    flat = getattr(optimizer, 'grad_partitions_flat_buffer', None)
    return _bytes([*(p.grad for p in model.parameters()), *sharded, flat])


def optimizer_bytes(model: nn.Module, optimizer) -> int:
    """Return the bytes of an optimizer's state, and of its own copy of the weights if it has one.

    Args:
        model (nn.Module): The model.
        optimizer (torch.optim.Optimizer): Its optimizer, or DeepSpeed's around one.
    """
    inner = getattr(optimizer, 'optimizer', optimizer)
    own = {_place(getattr(p, 'ds_tensor', p)) for p in model.parameters()}
    copies = [p for group in inner.param_groups for p in group['params'] if _place(p) not in own]
    return _bytes([*copies, *(value for state in inner.state.values() for value in state.values())])


def _bytes(tensors: Iterable) -> int:
    """Return the bytes of tensors that are here, each storage once."""
    sizes = {}
    for tensor in tensors:
        if isinstance(tensor, Tensor):
            sizes[_place(tensor)] = _local(tensor).untyped_storage().nbytes()
    return sum(sizes.values())


def _place(tensor: Tensor) -> int:
    return _local(tensor).untyped_storage().data_ptr()


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
