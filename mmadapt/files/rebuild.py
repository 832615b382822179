"""A whole model from a file that holds only what was trained, and its base."""

import os.path as osp
from collections import OrderedDict
from collections.abc import Collection, Mapping

from mmengine.model import revert_sync_batchnorm
from torch import Tensor, nn

from ..errors import UserError
from ..peft import adapter_names, quantize_base, require_state
from .adapter_folder import read_adapter
from .base_weights import base_state_dict
from .fingerprint import fingerprint
from .loader import is_checkpoint
from .reading import read_checkpoint
from .record import AdapterRecord
from .stored_tensors import canonical_keys, complete_state_dict
from .trained_part import KEY, TrainedPart


def rebuild(model: nn.Module, path: str, base: str | None = None) -> AdapterRecord:
    """Adapt a stock model and load an adapter together with the base it was trained on.

    Args:
        model (nn.Module): A stock model; its weights are replaced.
        path (str): An adapter folder, or a checkpoint of a training with ``peft``.
        base (str, optional): Where the base's checkpoint is, if not where the file says.

    Returns:
        AdapterRecord: What the file says of itself.

    Raises:
        UserError: A file is missing, damaged, or of another model or base.
    """
    record, stored = read_trained(path)
    if (
        base is None
        and record.base.load_from is None
        and not (record.base.pretrained or record.base.built_in)
        and record.base.fingerprint
        and not record.base.not_in_base
    ):
        raise UserError(f'{path} does not say where its base model is; name it with --base FILE')
    weights = base_state_dict(model, record.base, base)
    _load(model, record, stored, weights, path)
    return record


def complete(model: nn.Module, part: TrainedPart) -> None:
    """Load a checkpoint that holds only what was trained into a model that is not trained here.

    Args:
        model (nn.Module): A stock model, or one adapted as the checkpoint says.
        part (TrainedPart): The checkpoint's state dict.

    Raises:
        UserError: It belongs to another model, or its base is not where it was.
    """
    record = AdapterRecord.from_dict(part.record, part.source)
    record.check_layers(model, part.source)
    # Who wants it done later would lose what hangs on the norms.
    model = model if adapter_names(model) else revert_sync_batchnorm(model)
    _load(model, record, part.tensors, base_state_dict(model, record.base), part.source)


def _load(
    model: nn.Module,
    record: AdapterRecord,
    stored: Mapping[str, Tensor],
    base: Mapping[str, Tensor],
    source: str,
) -> None:
    if not adapter_names(model):
        record.inject_into(model, source)
    else:
        record.check_same(require_state(model), source)
    model.load_state_dict(restore(model, record, stored, base, source))
    quantize_base(model)


def read_trained(path: str) -> tuple[AdapterRecord, Mapping[str, Tensor]]:
    """Read what was trained from an adapter folder or a checkpoint of a training with ``peft``.

    Args:
        path (str): An adapter folder or a checkpoint.

    Returns:
        tuple: The record and the tensors by canonical state-dict key.

    Raises:
        UserError: There is no such file, or there is no adapter in it.
    """
    if osp.isdir(path) and not is_checkpoint(path):
        return read_adapter(path)
    checkpoint = read_checkpoint(path)
    if KEY not in checkpoint:
        raise UserError(f'{path} holds no adapter: it is an ordinary checkpoint')
    return AdapterRecord.from_dict(checkpoint[KEY], path), checkpoint['state_dict']


def restore(
    model: nn.Module,
    record: AdapterRecord,
    stored: Mapping[str, Tensor],
    base: Mapping[str, Tensor],
    source: str,
    anew: Collection[str] = (),
) -> 'OrderedDict[str, Tensor]':
    """Complete what was trained with the base's weights, and check that they are the right ones.

    Args:
        model (nn.Module): The adapted model that the state dict is for; it is not changed.
        record (AdapterRecord): What ``source`` says of itself.
        stored (Mapping[str, Tensor]): What it holds, by canonical key.
        base (Mapping[str, Tensor]): The base's state dict.
        source (str): The file, for messages.
        anew (Collection[str]): Keys that ``source`` is not asked for, as in
            :func:`complete_state_dict`.

    Returns:
        OrderedDict[str, Tensor]: A tensor for every key of the model.

    Raises:
        UserError: Something is missing or has another shape, or the base is another one.
    """
    state = complete_state_dict(model, stored, base, source, anew)
    frozen = {
        key: base[key].to(state[key].dtype) if key in anew else state[key]
        for key, first in canonical_keys(model).items()
        if key == first and key not in stored and (key in base or key not in anew)
    }
    if record.base.fingerprint and fingerprint(frozen) != record.base.fingerprint:
        where = record.base.load_from or 'the pretrained files of the model config'
        raise UserError(
            f'{source} was trained on other base weights than these; its base was '
            f'{where}. Where that is now can be said with --cfg-options '
            'peft.base=FILE'
        )
    return state
