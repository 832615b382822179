"""Adapting a run's model as far as that needs no values, from all that it may start from.

Training begins at a base, goes on from an adapter folder beside its base, or from a checkpoint that
has an adapter of its own; an evaluation has one of the last two.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from ..classes import KeptClasses, Names, names_of_checkpoint, names_of_record, names_of_run
from ..errors import UserError
from ..files import (
    KEY,
    AdapterRecord,
    BaseRecord,
    base_state_dict,
    check_adapter_fits,
    make_base_record,
    read_adapter,
)
from ..files.built_in import digests
from ..files.prefix import part_of_checkpoint, with_full_keys
from ..files.resumable import check_can_resume
from ..files.trained_part import is_whole
from ..logs import say, warn
from ..peft import PEFTConfig, Report, inject, require_state
from ..runs import resumes
from .base_check import check_base, check_base_is_read, find_built_in
from .going_on import check_one_adapter, find_misfits, layer_of, tensors_anew
from .kept_rows import find_rows, trained_over


@dataclass
class Adapted:
    """What was done with a model that is to be trained, and what is still to be done with it.

    Args:
        base (BaseRecord): Where its base comes from.
        report (Report): What was injected.
        adapter (str, optional): Folder whose tensors are still to be loaded.
        anew (set[str]): Keys for which an earlier training is not asked.
        kept (KeptClasses, optional): Rows for classes that what is loaded knows.
        is_new (bool): Whether nothing of it has been trained yet.
        built_in (dict[str, str]): Digests of what must not be drawn anew.
    """

    base: BaseRecord
    report: Report
    adapter: str | None = None
    anew: set[str] = field(default_factory=set)
    kept: KeptClasses | None = None
    is_new: bool = False
    built_in: dict[str, str] = field(default_factory=dict)


def adapt_to_train(
    runner, model: nn.Module, config: PEFTConfig, path: str | None, checkpoint: dict
) -> Adapted:
    """Adapt a model that is to be trained.

    Args:
        runner (Runner): Its runner, or what has the attributes of one that are read here.
        model (nn.Module): The model, not wrapped.
        config (PEFTConfig): The value of ``peft``.
        path (str, optional): The checkpoint that will be loaded.
        checkpoint (dict): What it holds.

    Returns:
        Adapted: What was done and what is left to do.

    Raises:
        UserError: They do not fit each other.
    """
    if runner.cfg.get('efficient_conv_bn_eval'):
        raise UserError(
            'efficient_conv_bn_eval bypasses the layers that peft adapts; remove it from the config'
        )
    if resumes(runner) and path is not None:
        check_can_resume(checkpoint, path, bool(runner.cfg.get('param_scheduler')))
    take_as_base(runner, checkpoint)
    if path is not None and KEY in checkpoint:
        adapted = _go_on(runner, model, config, path, checkpoint)
    elif resumes(runner) and path is not None:
        raise UserError(
            f'{path} was not written by a training with `peft` and cannot be '
            'resumed; start from it with load_from'
        )
    else:
        adapted = _begin(runner, model, config, path, checkpoint)
    adapted.built_in = digests(model, adapted.base.built_in)
    return adapted


def _go_on(runner, model: nn.Module, config: PEFTConfig, path: str, checkpoint: dict) -> Adapted:
    """Adapt a model as the checkpoint was that it goes on from."""
    record = AdapterRecord.from_dict(checkpoint[KEY], path)
    stored = checkpoint['state_dict']
    check_one_adapter(record, path, config.adapter)
    misfits: set[str] = set()
    kept = None
    # A resumed run is of the same model, or is refused.
    if not resumes(runner):
        weights = base_state_dict(model, record.base, config.base)
        misfits = find_misfits(model, stored, weights, path)
        tensors = trained_over(model, stored, weights)
        kept = _keep_rows(runner, model, config, names_of_checkpoint(checkpoint), tensors, path)
        misfits |= _changed(kept)
    base = replace(record.base, not_in_base=sorted({*record.base.not_in_base, *misfits}))
    # What it was begun with is not to be changed now.
    report = inject(
        model,
        config,
        not_loaded={*record.not_loaded, *misfits},
        weights_follow=True,
        check_options=False,
    )
    record.check_same(require_state(model), path, misfits)
    return Adapted(base, report, anew=tensors_anew(model, stored, misfits), kept=kept)


def _begin(
    runner, model: nn.Module, config: PEFTConfig, path: str | None, checkpoint: dict
) -> Adapted:
    """Adapt a model over a base, and over an adapter folder where ``config`` names one."""
    check_base_is_read(config, path)
    weights = checkpoint.get('state_dict', {})
    part = part_of_checkpoint(model, weights)
    if part:
        say(f'{path} is a checkpoint of {part} alone: its keys are read as {part}....')
    base = make_base_record(model, path, weights)
    find_built_in(runner, model, base)
    not_loaded = base.not_in_base if _has_base(runner, model, base, config) else []
    stored: Mapping[str, Tensor] = {}
    misfits: set[str] = set()
    names, source = names_of_checkpoint(checkpoint), path
    tensors = {**with_full_keys(model, weights)}
    if config.adapter is not None:
        source = config.adapter
        record, stored = read_adapter(source)
        record.check_layers(model, source)
        names = names_of_record(vars(record)) or names
        tensors = trained_over(model, stored, tensors)
        # The shape of a layer that has an adapter is the base's.
        layers = {layer_of(key) for key in stored}
        of_layers = {key: value for key, value in weights.items() if layer_of(key) in layers}
        misfits = find_misfits(model, stored, of_layers, source)
    kept = _keep_rows(runner, model, config, names, tensors, source)
    base.not_in_base = sorted({*base.not_in_base, *_changed(kept)})
    misfits |= _changed(kept)
    report = inject(model, config, not_loaded={*not_loaded, *misfits}, weights_follow=True)
    anew = tensors_anew(model, stored, misfits)
    if config.adapter is not None:
        check_adapter_fits(model, config.adapter, base.not_in_base, anew)
    is_new = config.adapter is None
    return Adapted(base, report, config.adapter, anew, kept, is_new)


def adapt_to_evaluate(
    model: nn.Module, config: PEFTConfig, path: str | None, checkpoint: dict
) -> str | None:
    """Adapt a model that is to be evaluated.

    Args:
        model (nn.Module): The model, not wrapped.
        config (PEFTConfig): The value of ``peft``.
        path (str, optional): The checkpoint that will be loaded.
        checkpoint (dict): What it holds.

    Returns:
        str, optional: The file or folder of its adapter; None where a plain model is evaluated.

    Raises:
        UserError: They do not fit each other.
    """
    if path is not None and KEY in checkpoint:
        record, source = AdapterRecord.from_dict(checkpoint[KEY], path), path
        check_one_adapter(record, path, config.adapter)
    elif config.adapter is not None:
        record, source = read_adapter(config.adapter)[0], config.adapter
    elif any(key.endswith('.lora_B') for key in checkpoint.get('state_dict', {})):
        raise UserError(
            f'{path} holds an adapter but not what its base is; use the checkpoint '
            'that it was made from'
        )
    else:
        warn(f'{path} holds no adapter and peft.adapter is not set: a plain model is evaluated')
        return None
    say(f'{source}: ' + record.inject_into(model, source).line())
    return source


def take_as_base(runner, checkpoint: dict) -> None:
    """Forget how a checkpoint was trained that lacks nothing, unless its training is resumed.

    Args:
        runner (Runner): The run.
        checkpoint (dict): What it loads; changed.
    """
    if KEY in checkpoint and not resumes(runner) and is_whole(checkpoint[KEY]):
        del checkpoint[KEY]


def _keep_rows(
    runner,
    model: nn.Module,
    config: PEFTConfig,
    names: Names,
    tensors: Mapping[str, Tensor],
    source: str | None,
) -> KeptClasses | None:
    return find_rows(runner.cfg, model, config, names_of_run(runner), names, tensors, source)


def _changed(kept: KeptClasses | None) -> set[str]:
    """Return the tensors that hold kept rows; their layers train fully and are in no base."""
    return set() if kept is None else kept.changed


def _has_base(runner, model: nn.Module, base: BaseRecord, config: PEFTConfig) -> bool:
    """Do what :func:`check_base` does; where it refuses, say what else is wrong, too."""
    try:
        return check_base(runner, model, base, config)
    except UserError as error:
        found = [str(error)]
        try:
            inject(model, config, weights_follow=True)
        except UserError as another:
            found.append(str(another))
        raise UserError('\n'.join(found)) from None
