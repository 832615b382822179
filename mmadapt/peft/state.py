"""What an adapted model remembers of its adapters."""

from dataclasses import dataclass, field

from torch import nn

from ..errors import UserError
from .config import PEFTConfig

ATTRIBUTE = '_mmadapt'


@dataclass
class TuningState:
    """One adapter of a model.

    Attributes:
        config (PEFTConfig): What was asked for.
        adapted (list[str]): First names of the adapted layers.
        trained (list[str]): First names of the parameters that train fully.
        not_loaded (list[str]): State-dict keys for which there was no pretrained weight.
        changes (list[Change]): What leads from the base model to the adapted one, or back while
            the adapter is active.
        keeps_base (bool): Whether that leads to the values that the base model had in what the
            adapter trains fully.
        merged (dict, optional): While merged: the frozen tensors, the adapter and the precision of
            every adapted layer.
        frozen_norms (list): While merged: the norms whose statistics are frozen else, each with
            its buffers.
        quantized (list[str]): First names of the layers that are quantized once their weights are
            loaded.
        packed (dict): While merged: their quantized weights.
    """

    config: PEFTConfig
    adapted: list = field(default_factory=list)
    trained: list = field(default_factory=list)
    not_loaded: list = field(default_factory=list)
    changes: list = field(default_factory=list)
    keeps_base: bool = False
    merged: dict | None = None
    frozen_norms: list = field(default_factory=list)
    quantized: list = field(default_factory=list)
    packed: dict = field(default_factory=dict)


@dataclass
class Adapters:
    """All adapters of a model. Kept on it, so that they are copied and pickled with it.

    Attributes:
        required_grad (dict[str, bool]): What ``requires_grad`` was before the first of them, for
            every parameter.
        states (dict[str, TuningState]): By name.
        active (str, optional): The name of the one that the model computes with.
    """

    required_grad: dict
    states: dict[str, TuningState] = field(default_factory=dict)
    active: str | None = None


def get_adapters(model: nn.Module) -> Adapters | None:
    """Return all adapters of a model, None for a stock model."""
    return model.__dict__.get(ATTRIBUTE)


def get_state(model: nn.Module) -> TuningState | None:
    """Return the active adapter of a model; None for a stock model, or one without an active."""
    adapters = get_adapters(model)
    return None if adapters is None or adapters.active is None else adapters.states[adapters.active]


def add_state(
    model: nn.Module, name: str, state: TuningState, required_grad: dict[str, bool]
) -> None:
    """Remember another adapter, which is active from now on.

    Args:
        model (nn.Module): The model.
        name (str): The adapter's name.
        state (TuningState): The adapter.
        required_grad (dict[str, bool]): The flags of the base's parameters before it.
    """
    adapters = get_adapters(model)
    if adapters is None:
        adapters = Adapters(required_grad)
        model.__dict__[ATTRIBUTE] = adapters
    adapters.states[name], adapters.active = state, name


def drop_state(model: nn.Module, name: str) -> None:
    """Forget an adapter; a model without any is a stock model again."""
    adapters = require_adapters(model)
    adapters.states.pop(name, None)
    adapters.active = None if adapters.active == name else adapters.active
    if not adapters.states:
        del model.__dict__[ATTRIBUTE]


def require_adapters(model: nn.Module) -> Adapters:
    """Return all adapters of a model.

    Args:
        model (nn.Module): The model.

    Raises:
        UserError: The model is not adapted.
    """
    adapters = get_adapters(model)
    if adapters is None:
        raise UserError(
            f'this {type(model).__name__} is not adapted; call mmadapt.inject or '
            'mmadapt.load_adapter first'
        )
    return adapters


def require_state(model: nn.Module) -> TuningState:
    """Return the active adapter of a model.

    Args:
        model (nn.Module): The model.

    Raises:
        UserError: The model is not adapted, or all its adapters are off.
    """
    adapters = require_adapters(model)
    if adapters.active is None:
        raise UserError(
            f'no adapter of this {type(model).__name__} is active; call '
            f'mmadapt.set_adapter(model, {next(iter(adapters.states))!r})'
        )
    return adapters.states[adapters.active]
