"""What an adapted model remembers of its adaptation."""

from dataclasses import dataclass, field

from torch import nn

from ..errors import UserError
from .config import PEFTConfig

_ATTRIBUTE = '_mmadapt'


@dataclass
class TuningState:
    """Kept on the model, so that it is copied and pickled with it.

    Attributes:
        config (PEFTConfig): What was asked for.
        adapted (list[str]): First names of the adapted layers.
        trained (list[str]): First names of the parameters that train fully.
        not_loaded (list[str]): State-dict keys for which there was no pretrained weight.
        required_grad (dict[str, bool]): What ``requires_grad`` was before, for every parameter.
        merged (dict, optional): While merged: the frozen tensors and the adapter of every adapted
            layer.
        frozen_norms (list[nn.Module]): While merged: the norms whose statistics are frozen else.
        quantised (list[str]): First names of the layers that are quantised once their weights are
            loaded.
        packed (dict): While merged: their quantised weights.
    """

    config: PEFTConfig
    adapted: list = field(default_factory=list)
    trained: list = field(default_factory=list)
    not_loaded: list = field(default_factory=list)
    required_grad: dict = field(default_factory=dict)
    merged: dict | None = None
    frozen_norms: list = field(default_factory=list)
    quantised: list = field(default_factory=list)
    packed: dict = field(default_factory=dict)


def get_state(model: nn.Module) -> TuningState | None:
    """Return what an adapted model remembers, None for a stock model."""
    return model.__dict__.get(_ATTRIBUTE)


def set_state(model: nn.Module, state: TuningState | None) -> None:
    """Set what the model remembers; None makes it a stock model again."""
    if state is None:
        model.__dict__.pop(_ATTRIBUTE, None)
    else:
        model.__dict__[_ATTRIBUTE] = state


def require_state(model: nn.Module) -> TuningState:
    """Return what an adapted model remembers.

    Raises:
        UserError: The model is not adapted.
    """
    state = get_state(model)
    if state is None:
        raise UserError(f'this {type(model).__name__} is not adapted; call mmadapt.inject or '
                        'mmadapt.load_adapter first')
    return state
