"""What the hooks will refuse, found before a runner is built.

A runner prints the whole config, 600 to 900 lines, and builds its data before any hook sees the
model. What is wrong in ``peft``, ``memory`` or a checkpoint is found on a model without values too,
which is built in no time, and so can be said first.
"""

import copy
import os.path as osp
from contextlib import nullcontext
from types import SimpleNamespace

from mmengine.config import Config

from ..configs import build_model
from ..errors import UserError
from ..files import read_checkpoint
from ..files.base import pretrained_modules
from ..files.to_load import checkpoint_to_load
from ..logs import silent
from ..strategies.fsdp2.meta import without_values
from ..tuning import PEFTConfig, inject
from .inject_hook import PEFTInjectHook, unwrap
from .memory_hook import check_names


def rehearse(cfg: Config, trains: bool) -> None:
    """Do what the hooks of a run will do with its model, on one without values.

    Nothing is downloaded for it. What can only be found with values, or by what is to be
    downloaded, is left to the hooks.

    Args:
        cfg (Config): The config of a run, its ``work_dir`` and ``load_from`` set; not changed.
        trains (bool): Whether it is to train; otherwise it tests.

    Raises:
        UserError: What a hook would raise.
    """
    if cfg.get('peft') is None and cfg.get('memory') is None:
        path = checkpoint_to_load(_runner_of(cfg))
        if path is not None and '://' not in path and not osp.exists(path):
            read_checkpoint(path)  # says what is there
        return
    refused = None
    # What is refused is tried once more with values: they may be what was missed.
    for building in (without_values, nullcontext):
        try:
            with silent():
                _rehearse(copy.deepcopy(cfg), trains, building)
            return
        except UserError as error:
            refused = error
        except Exception:
            return  # what is no matter of values comes again in the run
    raise refused


def _rehearse(cfg: Config, trains: bool, building) -> None:
    with building():
        model = unwrap(build_model(cfg))
    if cfg.get('peft') is not None:
        runner = _runner_of(cfg)
        config, path = PEFTConfig.parse(cfg.peft), checkpoint_to_load(runner)
        is_remote = '://' in (path or '')
        if trains and (pretrained_modules(model) or is_remote):
            inject(model, config, weights_follow=True)
        elif not is_remote:
            checkpoint, hook = {} if path is None else read_checkpoint(path), PEFTInjectHook()
            if trains:
                hook.adapt(runner, model, config, path, checkpoint)
            else:
                hook.adapt_to_evaluate(model, config, path, checkpoint)
    check_names(model, cfg, trains)


def _runner_of(cfg: Config) -> SimpleNamespace:
    # What is read of a runner before there is one.
    return SimpleNamespace(cfg=cfg, work_dir=cfg.work_dir, _load_from=cfg.get('load_from'),
                           _resume=cfg.get('resume', False))
