"""Loading adapter folders into a model, several of them beside each other."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ..errors import UserError
from ..peft import (
    DEFAULT_NAME,
    Snapshot,
    active_adapter,
    adapter_names,
    check_name,
    check_not_merged,
    drop_state,
    fit_class_counts,
    quantize_base,
    remember,
    require_state,
    set_adapter,
)
from .adapter_folder import read_adapter
from .fingerprint import fingerprint
from .record import AdapterRecord
from .stored_tensors import complete_state_dict, frozen_tensors, stored_keys


def load_adapter(model: nn.Module, folder: str, name: str = DEFAULT_NAME) -> None:
    """Load an adapter folder into a model that holds the weights it was trained on.

    The adapter is active afterwards. The base's own tensors are not written to: adapters that
    differ in anything, also in the number of classes, stand beside each other under their names,
    each with its own tensors, and :func:`mmadapt.set_adapter` switches.

    Args:
        model (nn.Module): A stock model, or one with adapters. It is changed only if everything
            fits.
        folder (str): The folder, written by :func:`save_adapter` or by Hugging Face's PEFT.
        name (str): The adapter's name. One that the model has already, such as the only one of a
            model that :func:`mmadapt.inject` has adapted, gets other values; the
            folder must be of the same ``peft``. Defaults to ``'default'``.

    Raises:
        UserError: The folder is missing or damaged, or belongs to another model or base.
    """
    record, tensors = read_adapter(folder)
    check_name(name)
    check_not_merged(model)
    previous = active_adapter(model)
    try:
        if name in adapter_names(model):
            set_adapter(model, name)
            _load_values(model, record, tensors, folder)
        else:
            set_adapter(model, None)
            _load_new(model, record, tensors, folder, name)
    except Exception:
        set_adapter(model, previous)
        raise


def _load_values(
    model: nn.Module, record: AdapterRecord, tensors: Mapping[str, Tensor], folder: str
) -> None:
    """Write other values into the active adapter."""
    record.check_same(require_state(model), folder)
    record.check_form(model, folder)
    _check_complete(model, record, tensors, folder)
    _write(model, tensors)
    quantize_base(model)
    if any(
        change.module is model and 'dataset_meta' in change.attributes
        for change in require_state(model).changes
    ):
        _name_classes(model, record.class_names)


def _load_new(
    model: nn.Module, record: AdapterRecord, tensors: Mapping[str, Tensor], folder: str, name: str
) -> None:
    """Adapt the base once more, without writing to its tensors."""
    before = Snapshot(model)
    try:
        fit_class_counts(model, tensors, record.class_counts, record.class_names, folder)
        record.inject_into(model, folder, name)
        _check_complete(model, record, tensors, folder)
        live = model.state_dict(keep_vars=True)
        before.give_copies(live[key] for key in tensors)
        _write(model, tensors)
        _name_classes(model, record.class_names)
        state = require_state(model)
        state.keeps_base = True
        remember(model, before, state, quantize=True)
    except Exception:
        if name in adapter_names(model):
            drop_state(model, name)
        before.restore()
        raise


def _check_complete(
    model: nn.Module, record: AdapterRecord, tensors: Mapping[str, Tensor], folder: str
) -> None:
    """Check that an adapter fits, and that nothing of it is missing."""
    complete_state_dict(model, tensors, model.state_dict(), folder)
    missing = sorted(stored_keys(model, record.base.not_in_base) - set(tensors))
    if missing:
        raise UserError(f'{folder} lacks {missing[0]} and {len(missing) - 1} more tensors')
    if (
        record.base.fingerprint
        and fingerprint(frozen_tensors(model, tensors)) != record.base.fingerprint
    ):
        where = record.base.load_from
        raise UserError(
            f'{folder} was trained on other base weights than this model holds'
            + (f' (it was trained on {where})' if where else '')
        )


def _write(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Write an adapter's values; whatever else is in the model is the base's, and right."""
    # Not by `load_state_dict`: ConvAWS2d then sets frozen tensors of its own anew.
    live = model.state_dict()
    for key, tensor in tensors.items():
        live[key].copy_(tensor)


def _name_classes(model: Any, class_names) -> None:
    """Tell MMDetection's inference and its visualizer the names of the classes."""
    if class_names is None:
        return
    meta = dict(getattr(model, 'dataset_meta', None) or {})
    names = tuple(class_names)
    if names != tuple(meta.get('classes') or ()) and not isinstance(meta.get('palette'), str):
        # One color for each of the base's classes: without it the visualizer chooses some.
        meta.pop('palette', None)
    model.dataset_meta = {**meta, 'classes': names}
