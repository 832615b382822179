"""The state of a sharded model and its optimizer as it is without sharding."""

from collections.abc import Collection
from typing import Any

import torch
from mmengine.dist import is_main_process
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset
from torch.optim import Optimizer
from torch.utils._pytree import tree_map_only


@torch.no_grad()
def gather(state):
    """Put together what is sharded; to be called by all processes.

    Args:
        state: Tensors, in dicts and lists.

    Returns:
        The same with whole tensors on the CPU in the first process, with None for each elsewhere.
    """
    is_main = is_main_process()

    def whole(tensor: Tensor) -> Tensor | None:
        # One at a time: there need not be room for all of them on an accelerator.
        tensor = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        return tensor.detach().cpu() if is_main else None

    return tree_map_only(Tensor, whole, state)


def model_state(model: nn.Module, scalars: Collection[str]) -> dict[str, Tensor]:
    """Return the tensors of a model, sharded ones among them, but those without dimensions whole.

    Args:
        model (nn.Module): The sharded model, or what has it as its ``module``.
        scalars (Collection[str]): The names of parameters that have got a dimension.
    """
    state = model.state_dict()
    for key in state:
        if key.removeprefix('module.') in scalars or key in scalars:
            state[key] = state[key].full_tensor().view(())
    return state


def serve_whole_state(optimizer: Optimizer, scalars: Collection[nn.Parameter]) -> None:
    """Let an optimizer over sharded parameters load the state of one over whole ones.

    Args:
        optimizer (Optimizer): The optimizer.
        scalars (Collection[nn.Parameter]): Parameters that have got a dimension; their state has
            none in its state dict.
    """

    def shard(key: str, value, param: Any):
        # `step` has no dimension, whatever the parameter has.
        whole = (
            isinstance(value, Tensor)
            and key != 'step'
            and (value.shape == param.shape or param in scalars)
        )
        return _divide(value, param) if whole else value

    def undo(key: str, value, param: nn.Parameter):
        is_scalar = param in scalars and isinstance(value, DTensor)
        return value.full_tensor().view(()) if is_scalar else value

    optimizer.register_load_state_dict_pre_hook(
        lambda optimizer, state: _each(optimizer, state, shard)
    )
    optimizer.register_state_dict_post_hook(lambda optimizer, state: _each(optimizer, state, undo))


def _each(optimizer: Optimizer, state: dict, change) -> dict:
    params = [param for group in optimizer.param_groups for param in group['params']]
    indices = [index for group in state['param_groups'] for index in group['params']]
    if len(params) != len(indices):
        return state  # torch says so
    param_of = dict(zip(indices, params, strict=True))
    return dict(
        state,
        state={
            index: {key: change(key, value, param_of[index]) for key, value in entry.items()}
            for index, entry in state['state'].items()
        },
    )


def _divide(value: Tensor, param: DTensor) -> DTensor:
    mesh, placements = param.device_mesh, param.placements
    shape, offset = compute_local_shape_and_global_offset(param.shape, mesh, placements)
    part = value.view(param.shape)[
        tuple(slice(start, start + length) for start, length in zip(offset, shape, strict=True))
    ]
    part = part.to(param.to_local().device, copy=True)
    return DTensor.from_local(
        part, mesh, placements, run_check=False, shape=param.shape, stride=param.stride()
    )
