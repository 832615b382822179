"""Several adapters on one model, by name: switching between them, and removing them."""

from torch import nn

from ..errors import UserError
from ..quantization import QuantizedLinear
from ..values import check_text, nearest
from .guards import check_intact
from .merging import unmerge
from .quantized_base import packed_base
from .state import (
    Adapters,
    TuningState,
    drop_state,
    get_adapters,
    get_state,
    require_adapters,
    require_state,
)


def adapter_names(model: nn.Module) -> list[str]:
    """Return the names of the adapters of a model, in the order in which they came."""
    adapters = get_adapters(model)
    return [] if adapters is None else list(adapters.states)


def active_adapter(model: nn.Module) -> str | None:
    """Return the name of the adapter that a model computes with, None if it has none."""
    adapters = get_adapters(model)
    return None if adapters is None else adapters.active


def set_adapter(model: nn.Module, name: str | None) -> None:
    """Let a model compute with another of its adapters, or with none.

    No tensor is copied or computed: it takes milliseconds. What the model predicts (number of
    classes, ``model.dataset_meta``) follows, and the mode of every module stays. Adapters that are
    off stay where they are; one that is switched on follows the model to its device, and to another
    precision.

    Args:
        model (nn.Module): A model with adapters.
        name (str, optional): The adapter's name; None gives the base model, bit by bit, of stock
            classes. A base that an adapter has quantized stays so.

    Raises:
        UserError: There is no such adapter, the active one is merged, or it is one of a training
            that has not kept the base values of what it trains fully.
    """
    adapters = get_adapters(model)
    if name is not None:
        check_known(model, name)
    if adapters is None or name == adapters.active:
        return
    if adapters.active is not None:
        _check_can_leave(adapters.active, adapters.states[adapters.active])
        leave(model, adapters)
    if name is not None:
        _exchange(adapters.states[name])
        adapters.active = name


def remove(model: nn.Module, name: str | None = None) -> None:
    """Remove adapters: original classes, original weights, original ``requires_grad``.

    Where the base values of layers that were trained fully have not been kept, because the adapter
    is one of a training, they keep what they learned. When the last adapter goes, weights that were
    quantized become dense, but keep what quantizing has rounded.

    Args:
        model (nn.Module): An adapted model.
        name (str, optional): The adapter to remove; the base model is left if it was active.
            Defaults to None: all of them.

    Raises:
        UserError: The model is not adapted, or has no adapter of that name.
    """
    adapters = require_adapters(model)
    if name is not None:
        check_known(model, name)
    names = list(adapters.states) if name is None else [name]
    if adapters.active is not None and adapters.active in names:
        if adapters.states[adapters.active].merged is not None:
            unmerge(model)
        leave(model, adapters)
    for each in names:
        drop_state(model, each)
    if get_adapters(model) is None:
        for layer in packed_base(model):
            key = f'{layer}.weight'.lstrip('.')
            model.get_parameter(key).requires_grad_(adapters.required_grad[key])


def check_known(model: nn.Module, name: str) -> None:
    """Check that a model has an adapter of a name.

    Args:
        model (nn.Module): The model.
        name (str): The name.

    Raises:
        UserError: It has not.
    """
    names = adapter_names(model)
    if name in names:
        return
    kind = type(model).__name__
    if not names:
        raise UserError(
            f'this {kind} has no adapter {name!r}, nor any other; call mmadapt.load_adapter first'
        )
    raise UserError(
        f'this {kind} has no adapter {name!r}; nearest: {nearest(name, names)}, all: {names}'
    )


def check_name(name) -> None:
    """Check that something can be the name of an adapter.

    Args:
        name: Anything.

    Raises:
        UserError: It is no string, or empty.
    """
    check_text('the name of an adapter', name, 'a string that is not empty')


def check_not_merged(model: nn.Module) -> None:
    """Check that no adapter is merged into a model.

    Args:
        model (nn.Module): The model.

    Raises:
        UserError: One is.
    """
    state = get_state(model)
    if state is not None and state.merged is not None:
        raise UserError('an adapter is merged into this model; call mmadapt.unmerge first')


def leave(model: nn.Module, adapters: Adapters) -> None:
    """Bring a model from its active adapter to its base."""
    check_intact(model)
    state = require_state(model)
    for change in state.changes:
        # Quantizing, which may come after the adapter, is done to the base.
        if isinstance(change.module, QuantizedLinear) and 'weight' not in change.parameters:
            change.kind = getattr(type(change.module), 'stock_class', type(change.module))
    _exchange(state)
    adapters.active = None


def _check_can_leave(name: str, state: TuningState) -> None:
    if state.merged is not None:
        raise UserError(f'adapter {name!r} is merged into this model; call mmadapt.unmerge first')
    if not state.keeps_base:
        raise UserError(
            f'the base values of what adapter {name!r} trains fully '
            f'{state.trained[:1]} have not been kept, as in every training by a '
            'runner; save it, and load it into a fresh model'
        )


def _exchange(state: TuningState) -> None:
    for change in state.changes:
        change.exchange()
