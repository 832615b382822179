"""What the hooks will refuse, found before a runner is built.

A runner prints the whole config, 600 to 900 lines, and builds its data before any hook sees the
model. What is wrong in ``model``, ``peft``, ``memory`` or a checkpoint is found on a model without
values too, which is built in no time, and so can be said first.
"""

import copy
from contextlib import nullcontext

from mmengine.config import Config
from torch import nn

from ..config_model import build_model
from ..datasets.checks import class_names_of
from ..downloads import not_initialized, why_not_downloaded
from ..errors import UserError
from ..files import KEY, AdapterRecord, guard, read_adapter, read_checkpoint
from ..files.base_weights import check_base_is_there, pretrained_files, pretrained_modules
from ..files.pretrained import covered_modules, read_shapes
from ..files.reading import check_is_there
from ..logs import is_first_process, silent
from ..peft import PEFTConfig, inject
from ..preflight.misspelled import explain_building
from ..runs import checkpoint_to_load, planned_run, resumes, unwrap
from ..strategies.fsdp2.meta import without_values
from .adapting import adapt_to_evaluate, adapt_to_train
from .loaded_hook import check_fits, class_names
from .memory_hook import check_names


def rehearse(cfg: Config, trains: bool) -> None:
    """Do what the hooks of a run will do with its model, on one without values.

    Nothing is downloaded for it, but whether it could be is asked. What can only be found with
    values, or by what is to be downloaded, is left to the hooks.

    Args:
        cfg (Config): The config of a run, its ``work_dir`` and ``load_from`` set; not changed.
        trains (bool): Whether it is to train; otherwise it tests.

    Raises:
        UserError: What a hook would raise.
    """
    path = checkpoint_to_load(planned_run(cfg))
    if path is not None and is_first_process():
        check_is_there(path)
    refused: UserError | None = None
    # What is refused is tried once more with values: they may be what was missed.
    for building in (without_values, nullcontext):
        try:
            with silent():
                _rehearse(copy.deepcopy(cfg), trains, path, building)
            return
        except UserError as error:
            refused = error
        except Exception as error:
            misspelled = explain_building(error, cfg)
            if misspelled is None:
                return  # what is no matter of values comes again in the run
            raise UserError(misspelled) from error
    assert refused is not None  # the last try did not return
    raise refused


def _rehearse(cfg: Config, trains: bool, path: str | None, building) -> None:
    with building():
        model = unwrap(build_model(cfg))
    runner, is_remote = planned_run(cfg), '://' in (path or '')
    if trains and not is_remote:
        _check_initialized(model, runner)
    if cfg.get('peft') is not None:
        _rehearse_peft(cfg, model, trains, path)
    elif not trains and not is_remote and path is not None:
        checkpoint = read_shapes(path)
        state = guard(checkpoint, path)['state_dict']
        check_fits(model, class_names_of(cfg, 'test'), state, class_names(checkpoint), path)
    check_names(model, cfg, trains)


def _rehearse_peft(cfg: Config, model: nn.Module, trains: bool, path: str | None) -> None:
    runner = planned_run(cfg)
    config, is_remote = PEFTConfig.parse(cfg.peft), '://' in (path or '')
    if trains and (is_remote or (not resumes(runner) and _initialized(model, runner))):
        inject(model, config, weights_follow=True)
        return
    if is_remote:
        return
    checkpoint = {} if path is None else read_checkpoint(path)
    if trains:
        adapt_to_train(runner, model, config, path, checkpoint)
    else:
        adapt_to_evaluate(model, config, path, checkpoint)
    if path is not None and KEY in checkpoint and (resumes(runner) or not trains):
        check_base_is_there(AdapterRecord.from_dict(checkpoint[KEY], path).base, config.base)
    if trains:
        return
    state, names, source = checkpoint.get('state_dict', {}), class_names(checkpoint), path
    if KEY not in checkpoint and config.adapter is not None:
        record, state = read_adapter(config.adapter)
        names, source = record.class_names, config.adapter
    check_fits(model, class_names_of(cfg, 'test'), state, names, str(source))


def _initialized(model: nn.Module, runner) -> list[str]:
    """Return the modules that will read a file of their own."""
    covered = covered_modules(model, runner)
    return [name for name in pretrained_modules(model) if name not in covered]


def _check_initialized(model: nn.Module, runner) -> None:
    for name in _initialized(model, runner):
        files = pretrained_files(model.get_submodule(name))
        for file in files:
            reason = why_not_downloaded(file) if '://' in file and is_first_process() else None
            if reason is not None:
                raise not_initialized(name, files, reason)
            if '://' not in file:
                check_is_there(file)
