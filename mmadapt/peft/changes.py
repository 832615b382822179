"""What distinguishes two states of a model, and going from one to the other and back.

An adapter swaps classes, adds tensors, puts others into the place of the base's and sets a few
attributes, whatever its method and policies. So a switch is an exchange of dictionary entries: no
tensor is copied, nothing is computed, and nobody has to know what the adapter did.
"""

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..norms import MODE, mode_of, set_mode
from .state import ATTRIBUTE

_HANDLED = frozenset(('_parameters', '_buffers', 'training', MODE, ATTRIBUTE))


class _Absent:
    """Stands for an entry that one of the two states has not; as a class, it survives pickling."""


@dataclass
class Change:
    """How a module differs in the state that the model is not in.

    Attributes:
        module (nn.Module): The module.
        kind (type): Its class there.
        parameters (dict): The entries of ``_parameters`` that are others there.
        buffers (dict): Of ``_buffers``.
        attributes (dict): Of the module itself.
        requires_grad (dict[str, bool]): Of parameters that are the same in both states.
        dtype (torch.dtype, optional): What the module's floating-point tensors were when the other
            state was left.
    """

    module: nn.Module
    kind: type[nn.Module]
    parameters: dict[str, Any] = field(default_factory=dict)
    buffers: dict[str, Any] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    requires_grad: dict[str, bool] = field(default_factory=dict)
    dtype: torch.dtype | None = None

    def __bool__(self) -> bool:
        """Return whether there is any difference."""
        return bool(
            self.parameters
            or self.buffers
            or self.attributes
            or self.requires_grad
            or self.kind is not type(self.module)
        )

    def exchange(self) -> None:
        """Bring the module into the other state, and remember this one. Its mode stays."""
        module, mode = self.module, mode_of(self.module)
        follow(module, (*self.parameters.values(), *self.buffers.values()), self.dtype)
        self.kind, module.__class__ = type(module), self.kind
        set_mode(module, mode)
        for kept, live in (
            (self.parameters, module._parameters),
            (self.buffers, module._buffers),
            (self.attributes, module.__dict__),
        ):
            for name, value in kept.items():
                kept[name] = live.get(name, _Absent)
                if value is _Absent:
                    live.pop(name, None)
                else:
                    live[name] = value
        for name, flag in self.requires_grad.items():
            parameter = module.get_parameter(name)
            if parameter.is_floating_point():  # quantizing has put codes into its place otherwise
                self.requires_grad[name] = parameter.requires_grad
                parameter.requires_grad_(flag)
        self.dtype = precision(module)


class Snapshot:
    """The state of every module of a model, to be compared with a later one.

    Args:
        model (nn.Module): The model. No tensor of it is copied.
    """

    def __init__(self, model: nn.Module) -> None:
        self._modules = [_ModuleState(module) for module in model.modules()]

    def changes(self) -> list[Change]:
        """Return what leads from the state that the model is in now back to this one.

        Nothing is changed by asking; :meth:`reset_flags` comes before it.
        """
        seen: set[int] = set()
        return [change for state in self._modules if (change := state.change(seen))]

    def restore(self) -> None:
        """Bring the model back, the mode of every module included."""
        self.reset_flags()
        for change in self.changes():
            change.exchange()
        for state in self._modules:
            set_mode(state.module, state.mode)

    def reset_flags(self) -> None:
        """Give parameters that the model has no more the ``requires_grad`` that they had."""
        live = {id(p) for state in self._modules for p in state.module._parameters.values()}
        for state in self._modules:
            for name, flag in state.requires_grad.items():
                parameter = state.parameters[name]
                if id(parameter) not in live:
                    parameter.requires_grad_(flag)

    def give_copies(self, tensors: Iterable[Tensor]) -> None:
        """Let the model go on with copies of tensors, because it is going to change them.

        Tensors that the model did not have at the time of the snapshot are not copied.
        """
        held = {
            id(t)
            for state in self._modules
            for t in (*state.parameters.values(), *state.buffers.values())
        }
        # A parameter that several modules have is one parameter afterwards too.
        copies = {id(t): copy.deepcopy(t) for t in tensors if id(t) in held}
        for state in self._modules:
            tensors_of: tuple[dict[str, Any], ...] = (
                state.module._parameters,
                state.module._buffers,
            )
            for live in tensors_of:
                live.update({name: copies[id(t)] for name, t in live.items() if id(t) in copies})


class _ModuleState:
    """What a module is at one moment."""

    def __init__(self, module: nn.Module) -> None:
        self.module, self.kind, self.mode = module, type(module), mode_of(module)
        self.parameters: dict[str, Any] = dict(module._parameters)
        self.buffers = dict(module._buffers)
        self.attributes = _attributes(module)
        self.requires_grad = {
            name: p.requires_grad for name, p in self.parameters.items() if p is not None
        }

    def change(self, seen: set[int]) -> Change:
        """Return what leads back; flags of the parameters in ``seen`` are in another change."""
        module = self.module
        change = Change(
            module,
            self.kind,
            _others(self.parameters, module._parameters),
            _others(self.buffers, module._buffers),
            _others(self.attributes, _attributes(module)),
            dtype=precision(module),
        )
        for name, flag in self.requires_grad.items():
            parameter = self.parameters[name]
            if (
                name not in change.parameters
                and parameter.requires_grad is not flag
                and id(parameter) not in seen
            ):
                change.requires_grad[name] = flag
                seen.add(id(parameter))
        return change


def _attributes(module: nn.Module) -> dict[str, Any]:
    return {name: value for name, value in module.__dict__.items() if name not in _HANDLED}


def _others(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    # In the order of now: what an adapter has added comes back in that order.
    names = now if before.keys() <= now.keys() else {**now, **before}
    return {
        name: before.get(name, _Absent)
        for name in names
        if before.get(name, _Absent) is not now.get(name, _Absent)
    }


def precision(module: nn.Module) -> torch.dtype | None:
    """Return what the floating-point tensors of a module are, None if it has none of its own."""
    return _placement(module)[1]


def follow(module: nn.Module, tensors: Iterable, dtype: torch.dtype | None) -> None:
    """Move tensors that are about to be put into a module to where it is.

    ``model.to()`` and ``model.half()`` reach what is registered only.

    Args:
        module (nn.Module): The module.
        tensors (Iterable): The tensors; what is none is passed over.
        dtype (torch.dtype, optional): The :func:`precision` of the module when they left it. Only
            if it has another one by now, they get that.
    """
    device, now = _placement(module)
    now = None if now is dtype else now
    for tensor in tensors:
        if isinstance(tensor, Tensor):
            _move(tensor, device, now)
            if tensor.grad is not None:
                _move(tensor.grad, device, now)


def _placement(module: nn.Module) -> tuple[torch.device | None, torch.dtype | None]:
    device = None
    for tensor in (*module._parameters.values(), *module._buffers.values()):
        if tensor is not None:
            device = tensor.device if device is None else device
            if tensor.is_floating_point():
                return device, tensor.dtype
    return device, None


def _move(tensor: Tensor, device: torch.device | None, dtype: torch.dtype | None) -> None:
    moved = tensor.data.to(device, dtype if tensor.is_floating_point() else None)
    if moved is not tensor.data:
        tensor.data = moved
