"""The state of a sharded optimizer as if it were whole, and sharded parameters as if they were.

ZeRO runs the optimizer on one flat tensor a group and process (ZeRO-3: one or more), of pieces of
many parameters. What is written and read is the state that the optimizer would have without it,
parameter by parameter.
"""

import logging
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dist import get_rank, is_main_process
from mmengine.logging import print_log
from torch import Tensor, nn

Groups = list[list[nn.Parameter]]


def whole_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """Return the state dict that a model would have without sharding.

    To be called by all processes. One parameter is gathered at a time, so that none needs room for
    all of them.

    Args:
        model (nn.Module): The model; only ZeRO-3 shards its parameters.

    Returns:
        dict[str, Tensor]: On the CPU; empty in all processes but the first.
    """
    import deepspeed

    state, main = model.state_dict(keep_vars=True), is_main_process()
    for key, value in state.items():
        with deepspeed.zero.GatheredParameters([value], enabled=_is_sharded(value)):
            state[key] = value.detach().to('cpu', copy=True) if main else None
    return state if main else {}


def gather_optimizer(zero, groups: Groups) -> dict:
    """Return the state dict that the optimizer would have without sharding.

    Args:
        zero: DeepSpeed's optimizer; all processes have to call this.
        groups (list[list[nn.Parameter]]): The parameters of each of its groups.

    Returns:
        dict: As of ``torch.optim.Optimizer.state_dict``, on the CPU. The tensors of parameters are
        those of the first process only.
    """
    from deepspeed.utils import safe_get_full_optimizer_state

    _link(zero)
    state: dict[int, dict] = {}
    for number, group, param in _numbered(groups):
        flat = _flat_of(zero, group, param)
        for key, value in zero.optimizer.state.get(flat, {}).items():
            if isinstance(value, Tensor) and value.shape == flat.shape:
                value = safe_get_full_optimizer_state(param, key).view(_shape(param))
                if not is_main_process():
                    continue
            if isinstance(value, Tensor):
                value = value.detach().to('cpu', copy=True)
            state.setdefault(number, {})[key] = value
    numbers = iter(range(sum(map(len, groups))))
    return dict(
        state=state,
        param_groups=[
            {
                **{key: value for key, value in group.items() if key != 'params'},
                'params': [next(numbers) for _ in params],
            }
            for group, params in zip(zero.optimizer.param_groups, groups, strict=True)
        ],
    )


def load_optimizer(zero, groups: Groups, state_dict: dict) -> None:
    """Give each process its part of the state of a whole optimizer.

    Args:
        zero: DeepSpeed's optimizer.
        groups (list[list[nn.Parameter]]): The parameters of each of its groups.
        state_dict (dict): What :func:`gather_optimizer` returned, or an unsharded optimizer's, over
            as many parameters in as many groups.
    """
    saved = state_dict['param_groups']
    keys = [key for group in saved for key in group['params']]
    own = [
        (group, param, state_dict['state'].get(keys[number], {}))
        for number, group, param in _numbered(groups)
    ]
    by_element = _keys_by_element(own)
    flat_states: dict[Tensor, dict] = {}
    for group, param, state in own:
        flat = _flat_of(zero, group, param)
        flat_state = flat_states.setdefault(flat, {})
        for key, value in state.items():
            if key not in by_element:
                flat_state[key] = _latest(key, value, flat_state.get(key, value))
            elif key not in flat_state:
                flat_state[key] = torch.zeros_like(flat)
    _load_flat(zero, saved, flat_states)
    for _, param, state in own:
        for key in by_element & set(state):
            _set_piece(param, key, state[key])


def _load_flat(zero, saved: list[dict], states: dict[Tensor, dict]) -> None:
    """Let the optimizer on flat tensors load: it puts each value where it is to be."""
    if hasattr(zero, 'fp32_partitioned_groups_flat'):
        zero._set_fp32_optimizer_param_groups()  # ZeRO-3 puts them there for its steps only
    flats = [flat for group in zero.optimizer.param_groups for flat in group['params']]
    number = {flat: index for index, flat in enumerate(flats)}
    zero.optimizer.load_state_dict(
        dict(
            state={number[flat]: state for flat, state in states.items() if state},
            param_groups=[
                {**group, 'params': [number[flat] for flat in own['params']]}
                for group, own in zip(saved, zero.optimizer.param_groups, strict=True)
            ],
        )
    )
    if hasattr(zero, 'fp32_partitioned_groups_flat'):
        zero._clear_fp32_optimizer_param_groups()
    _link(zero)


def _link(zero) -> None:
    """Give parameters that are not sharded their views of the flat state.

    DeepSpeed does it once, at the first step of the first group, when the others have no state yet.
    """
    if not hasattr(zero, 'fp32_partitioned_groups_flat'):
        zero._hp_optimizer_states_linked = False
        zero._lazy_init_hp_params_optimizer_state()


def _set_piece(param: Any, key: str, value: Tensor) -> None:
    from deepspeed.utils import safe_set_full_optimizer_state, safe_set_local_optimizer_state

    if not _is_sharded(param):
        safe_set_full_optimizer_state(param, value, key)
        return
    # DeepSpeed's own function for the whole fails where the pieces are not of one size.
    size = param.ds_tensor.numel()
    piece = value.flatten()[get_rank() * size : (get_rank() + 1) * size]
    safe_set_local_optimizer_state(param, F.pad(piece, (0, size - piece.numel())), key)


def _keys_by_element(own: list) -> set[str]:
    """Return the keys under which there is a value for each element, not one for a parameter."""
    found: set[str] = set()
    others: set[str] = set()
    for _, param, state in own:
        for key, value in state.items():
            alike = isinstance(value, Tensor) and value.shape == _shape(param)
            (found if alike else others).add(key)
    return found - others


def _latest(key: str, value, before):
    """Return the greater of two counts of steps, of parameters that have one in common now."""
    if float(value) != float(before):
        print_log(
            f'the checkpoint counts different numbers of {key} for the parameters of a group,'
            ' DeepSpeed counts one: the greater',
            'current',
            logging.WARNING,
        )
    return max(value, before, key=float)


def _numbered(groups: Groups) -> Iterator[tuple[int, int, nn.Parameter]]:
    """Yield the number of each parameter in a state dict, the number of its group, and it."""
    number = 0
    for group, params in enumerate(groups):
        for param in params:
            yield number, group, param
            number += 1


def _flat_of(zero, group: int, param: nn.Parameter) -> Tensor:
    """Return the flat tensor that this process's part of a parameter is in."""
    if _is_sharded(param):
        return zero.fp32_partitioned_groups_flat[zero.grad_position[zero.get_param_id(param)][0]]
    return zero.single_partition_of_fp32_groups[group]


def _shape(param: Any) -> torch.Size:
    return param.ds_shape if _is_sharded(param) else param.shape


def _is_sharded(param: Tensor) -> bool:
    return hasattr(param, 'ds_id')
