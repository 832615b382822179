"""Train or adapt a model: MMDetection's tools/train.py, with mmadapt registered and clear errors.

    python tools/train.py configs/peft/rtmdet_tiny_lora_face.py --cfg-options peft.method.r=16
"""

if __name__ == '__main__':
    import ctrl_c  # noqa: F401  before all that takes seconds to import

import argparse
import os
import time

from mmdet.utils import setup_cache_size_limit_of_dynamo
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

import mmadapt  # noqa: F401  registers everything, also for configs without custom_imports
from mmadapt.cli import (
    how_to_go_on,
    load_config,
    run_tool,
    set_amp,
    set_resume,
    set_work_dir,
    without_islands,
)
from mmadapt.cli.exit import Stopped, stop_behind
from mmadapt.cli.options import DictAction
from mmadapt.cli.written import what_was_written
from mmadapt.configs import check_arguments, check_best, check_run
from mmadapt.configs.peft_hook import hook_names
from mmadapt.datasets import check_data
from mmadapt.downloads import building_offline
from mmadapt.errors import UserError, WriteError
from mmadapt.files import full_disk
from mmadapt.hooks import LoadedCheckpointHook, secure_checkpoints
from mmadapt.hooks.random_state_hook import add_random_state_hook
from mmadapt.hooks.rehearsal import rehearse
from mmadapt.hooks.run_check_hook import add_run_check_hook
from mmadapt.logs import warn


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Train or adapt a model')
    parser.add_argument('config', help='config file, or a stock one as mmdet::FOLDER/NAME.py')
    parser.add_argument('--work-dir', help='folder for logs and checkpoints; default: the '
                        "config's own, or ./work_dirs/NAME_OF_THE_CONFIG")
    parser.add_argument('--amp', action='store_true', help='mixed precision: bfloat16 '
                        'where the device computes in it, else float16 with a gradient scaler')
    parser.add_argument('--auto-scale-lr', action='store_true',
                        help='scale the rate by the batch of this run over '
                        'auto_scale_lr.base_batch_size')
    parser.add_argument('--resume', nargs='?', const='auto', metavar='CHECKPOINT',
                        help='go on from this checkpoint; without a value from the last one in the '
                        'work directory, or from load_from when there is none yet')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='NAME=VALUE',
                        help='change values of the config, for instance peft.method.r=16; a '
                        'list as key="[a,b]" or key=a,b, nested as key="[(a,b),(c,d)]", without '
                        'spaces')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none',
                        help='how the processes of this run were started')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def apply_args(cfg: Config, args: argparse.Namespace) -> list[str]:
    """Put the arguments into the config; return what to log once the run has a log.

    Raises:
        UserError: An argument does not fit the config.
    """
    cfg.launcher = args.launcher
    set_work_dir(cfg, args.config, args.work_dir)
    begins = set_resume(cfg, args.resume)
    if args.auto_scale_lr:
        if not {'enable', 'base_batch_size'} <= set(cfg.get('auto_scale_lr') or {}):
            raise UserError('--auto-scale-lr: the config has no auto_scale_lr=dict(enable=False, '
                            'base_batch_size=N), N being the batch that its rate was chosen for')
        cfg.auto_scale_lr.enable = True
    return begins


def main() -> None:
    args = parse_args()
    setup_cache_size_limit_of_dynamo()
    cfg = load_config(args.config, args.cfg_options)
    check_run(cfg)
    check_arguments(cfg, ('train', 'val'))
    check_best(cfg)
    check_data(cfg, ('train', 'val'))
    precision = [set_amp(cfg)] if args.amp else []
    begins = apply_args(cfg, args)
    with building_offline():
        rehearse(cfg, trains=True)
        runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    add_run_check_hook(runner)
    hint = without_islands(cfg)
    for line in (*begins, *([] if hint is None else [hint])):
        warn(line)
    for line in precision:
        print_log(line, logger='current')
    secure_checkpoints(runner)
    add_random_state_hook(runner)
    if 'PEFTInjectHook' not in hook_names(cfg):
        runner.register_hook(LoadedCheckpointHook())
    began = time.time()
    try:
        runner.train()
    except BaseException as error:
        full = full_disk(error, cfg.work_dir) if isinstance(error, OSError) else error
        if isinstance(full, WriteError):
            raise UserError(
                f'{full}. Stopped at iteration {runner.iter}; what was written before is whole. '
                + how_to_go_on(cfg.work_dir, args.resume, began)) from error
        stop = stop_behind(error)
        if stop is None:
            raise
        raise Stopped(stop.number, f'Stopped by {stop.by} at iteration {runner.iter}. '
                      + how_to_go_on(cfg.work_dir, args.resume, began)) from None
    for line in what_was_written(runner, args.config):
        print_log(line, logger='current')


if __name__ == '__main__':
    run_tool(main)
