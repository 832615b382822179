"""Sharding the weights of a model, in place; names, keys and modules stay.

``torch.distributed.fsdp.fully_shard`` shards each parameter by its rows among the processes
(https://arxiv.org/abs/2304.11277; its second form keeps the parameters apart). A unit's weights are
gathered before its forward, and its gradients sharded after its backward.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.device import get_device
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, OffloadPolicy, fully_shard
from torch.distributed.tensor import DTensor

from ...adapters import AdapterLayer
from .meta import hand_out
from .scalars import give_a_dimension


@dataclass
class Sharding:
    """How a model is sharded.

    Args:
        mesh (DeviceMesh): Among whom.
        units (list[str]): The names of the modules that are gathered as one, in the model's order.
        reshard_after_forward (bool or int): Whether a unit's weights are freed between forward and
            backward; or the number of processes that keep it together until then.
        prefetch (int): How many units are gathered ahead of the one that computes.
        offload (bool): Whether what is sharded waits in the memory of the CPU.
    """

    mesh: DeviceMesh
    units: list[str]
    reshard_after_forward: bool | int = True
    prefetch: int = 0
    offload: bool = False

    def apply(self, model: nn.Module) -> list[str]:
        """Shard a model, with the values that it has in the first process.

        Args:
            model (nn.Module): The model, not wrapped.

        Returns:
            list[str]: The names of parameters without dimensions, of which there are no rows: they
            have one element along one dimension now.
        """
        scalars = give_a_dimension(model)
        for module in model.modules():
            if isinstance(module, AdapterLayer):
                module.expect_sharding()
        # Codes of a quantized base: small, without gradient, and no part of a float32 collective.
        whole = {p for p in model.parameters() if not p.is_floating_point()}
        saved = model.state_dict(keep_vars=True)  # other buffers are what a constructor computes
        hand_out(
            [p for p in model.parameters() if p in whole],
            [tensor for tensor in saved.values() if not isinstance(tensor, nn.Parameter)],
        )
        for parameter in whole:
            parameter.data = parameter.data.to(get_device())
        policy = OffloadPolicy()
        if self.offload:
            policy = CPUOffloadPolicy(pin_memory=get_device() != 'cpu')
        how: dict[str, Any] = dict(mesh=self.mesh, offload_policy=policy, ignored_params=whole)
        units: list[Any] = [model.get_submodule(name) for name in self.units]
        for unit in [*reversed(units), model]:  # inner ones come after outer ones in their order
            rest = [p for p in unit.parameters() if not isinstance(p, DTensor) and p not in whole]
            hand_out(rest)
            for parameter in rest:
                parameter.data = parameter.data.contiguous()
            fully_shard(
                unit,
                reshard_after_forward=None if unit is model else self.reshard_after_forward,
                **how,
            )
        if self.prefetch:
            for index, unit in enumerate(units):
                before = units[max(index - self.prefetch, 0) : index]
                unit.set_modules_to_backward_prefetch(before[::-1])
        return scalars

    def gather_ahead(self, model: nn.Module, in_training: bool) -> None:
        """Say what a unit gathers ahead of its forward: nothing where no backward pass follows.

        At its end what was gathered in vain is freed. Elsewhere a unit that is not called would
        compute with it later on, when the weights are others.

        Args:
            model (nn.Module): The sharded model.
            in_training (bool): Whether a backward pass follows.
        """
        units: list[Any] = []
        if self.prefetch:
            units = [model.get_submodule(name) for name in self.units]
        count = self.prefetch if in_training else 0
        for index, unit in enumerate(units):
            unit.set_modules_to_forward_prefetch(units[index + 1 : index + 1 + count])


def free(model: nn.Module) -> None:
    """Let each process have no more than its part of the weights again."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


@contextmanager
def gathered(model: nn.Module) -> Iterator[None]:
    """Have the parameters of a model whole; to be entered by all processes."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.unshard()
    try:
        yield
    finally:
        free(model)


class Calls:
    """What a sharded model does when it is called, beside computing.

    MMEngine's wrappers of optimizers look for ``model.no_sync``, and are in it while the model is
    called, not while gradients are computed. Evaluation leaves no unit gathered: hooks exchange
    weights after it.

    Args:
        model (nn.Module): The sharded model. It gets an attribute ``no_sync``.
        sharding (Sharding): How it is sharded.
    """

    def __init__(self, model: nn.Module, sharding: Sharding) -> None:
        self._sharding = sharding
        self._syncs = True
        self._gathers_ahead = False
        vars(model)['no_sync'] = self.no_sync
        model.register_forward_pre_hook(self._before)
        model.register_forward_hook(self._after)

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Let the gradients of what is computed meanwhile be kept by each process."""
        self._syncs = False
        try:
            yield
        finally:
            self._syncs = True

    def _before(self, model: Any, args: tuple) -> None:
        in_training = torch.is_grad_enabled()
        if in_training != self._gathers_ahead:
            self._sharding.gather_ahead(model, in_training)
            self._gathers_ahead = in_training
        if in_training:
            model.set_requires_gradient_sync(self._syncs)

    def _after(self, model: nn.Module, args: tuple, output) -> None:
        if not torch.is_grad_enabled():
            free(model)
