"""Train or adapt a model; what is wrong with a config, the data or a checkpoint is said first.

Examples:
    mmadapt train rtmdet_tiny_lora_face.py
    mmadapt train rtmdet_tiny_lora_face.py --resume
    mmadapt train rtmdet_tiny_lora_face.py --work-dir work_dirs/r16 --cfg-options peft.method.r=16
"""

import argparse
import time

from mmdet.utils import setup_cache_size_limit_of_dynamo
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from ..cli import (
    how_to_go_on,
    load_config,
    set_amp,
    set_resume,
    set_work_dir,
    without_islands,
)
from ..cli.arguments import add_config, add_launcher, make_parser, set_local_rank
from ..cli.exit import Stopped, stop_behind
from ..cli.written import what_was_written
from ..datasets import check_data
from ..downloads import building_offline
from ..errors import UserError, WriteError
from ..files import full_disk
from ..hooks import LoadedCheckpointHook, secure_checkpoints
from ..hooks.random_state_hook import add_random_state_hook
from ..hooks.rehearsal import rehearse
from ..hooks.run_check_hook import add_run_check_hook
from ..inference.circles import mend_circles
from ..logs import warn
from ..preflight import check_arguments, check_best, check_run
from ..preflight.peft_hook import hook_names


def parse_args(arguments: list[str]) -> argparse.Namespace:
    """Read what was typed behind the subcommand; ``--help`` and mistakes end the process."""
    parser = make_parser('train', __doc__)
    add_config(parser, 'peft.method.r=16')
    parser.add_argument(
        '--work-dir',
        help='folder for logs and checkpoints; default: the '
        "config's own, or ./work_dirs/NAME_OF_THE_CONFIG",
    )
    parser.add_argument(
        '--amp',
        action='store_true',
        help='mixed precision: bfloat16 '
        'where the device computes in it, else float16 with a gradient scaler',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the rate by the batch of this run over auto_scale_lr.base_batch_size',
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from this checkpoint; without a value from the last one in the '
        'work directory, or from load_from when there is none yet',
    )
    add_launcher(parser)
    args = parser.parse_args(arguments)
    set_local_rank(args)
    return args


def apply_args(cfg: Config, args: argparse.Namespace) -> list[str]:
    """Put the arguments into the config.

    Args:
        cfg (Config): The config; it is changed.
        args (argparse.Namespace): What was typed.

    Returns:
        list[str]: What to log once the run has a log.

    Raises:
        UserError: An argument does not fit the config.
    """
    cfg.launcher = args.launcher
    set_work_dir(cfg, args.config, args.work_dir)
    begins = set_resume(cfg, args.resume)
    if args.auto_scale_lr:
        if not {'enable', 'base_batch_size'} <= set(cfg.get('auto_scale_lr') or {}):
            raise UserError(
                '--auto-scale-lr: the config has no auto_scale_lr=dict(enable=False, '
                'base_batch_size=N), N being the batch that its rate was chosen for'
            )
        cfg.auto_scale_lr.enable = True
    return begins


def main(arguments: list[str]) -> None:
    """Run the subcommand."""
    args = parse_args(arguments)
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
    mend_circles(runner.visualizer)
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
                + how_to_go_on(cfg.work_dir, args.resume, began)
            ) from error
        stop = stop_behind(error)
        if stop is None:
            raise
        raise Stopped(
            stop.number,
            f'Stopped by {stop.by} at iteration {runner.iter}. '
            + how_to_go_on(cfg.work_dir, args.resume, began),
        ) from None
    for line in what_was_written(runner, args.config):
        print_log(line, logger='current')
