"""Models whose weights the first process alone has, until they are sharded.

The other processes build the model too, but their parameters have shapes only. Buffers have values
everywhere: they are small, and what a constructor computes from them goes into no file.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from mmengine.dist import broadcast, broadcast_object_list, get_rank
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from ...errors import UserError
from ...random_state import get_random_state, set_random_state


@contextmanager
def without_values() -> Iterator[None]:
    """Give the modules that are built meanwhile parameters on the meta device.

    Raises:
        UserError: A constructor needs values.
        RuntimeError: What it raises for another reason.
    """

    def drop(module: nn.Module, name: str, parameter: nn.Parameter | None):
        if (
            parameter is None
            or parameter.is_meta
            or isinstance(parameter, nn.parameter.UninitializedParameter)
        ):
            return None
        return nn.Parameter(parameter.detach().to('meta'), parameter.requires_grad)

    handle = register_module_parameter_registration_hook(drop)
    try:
        yield
    except (NotImplementedError, RuntimeError) as error:
        if 'meta' not in str(error):
            raise
        raise UserError(
            'strategy.meta_init=True: a constructor of this model reads its weights, '
            'which the first process alone has; write meta_init=False '
            f'({str(error).splitlines()[0]})'
        ) from error
    finally:
        handle.remove()


def hand_out(parameters: Iterable[nn.Parameter], buffers: Iterable[Tensor] = ()) -> None:
    """Give all processes what the first one has; to be called by all of them.

    Args:
        parameters (Iterable[nn.Parameter]): Parameters, by the same order everywhere.
        buffers (Iterable[Tensor]): Buffers, likewise.
    """
    for parameter in parameters:
        value = parameter.detach()
        if parameter.is_meta:
            value = torch.empty_like(value, device='cpu')
        broadcast(value)
        if parameter.is_meta:
            torch.utils.swap_tensors(parameter, nn.Parameter(value, parameter.requires_grad))
    for buffer in buffers:
        broadcast(buffer)


def draw_as_first() -> None:
    """Let all processes go on with the random state of the first, which has drawn the weights."""
    state = [get_random_state()]
    broadcast_object_list(state)
    if get_rank():
        set_random_state(state[0])
