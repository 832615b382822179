"""Test a model: of a PEFT run, merged, or stock.

Examples:
    mmadapt test rtmdet_tiny_lora_face.py work_dirs/rtmdet_tiny_lora_face/epoch_1.pth
    mmadapt test mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py base.pth --forgetting face=FOLDER
"""

import argparse
import copy
import dataclasses
import json
from pathlib import Path

from mmdet.evaluation import DumpDetResults
from mmdet.utils import setup_cache_size_limit_of_dynamo
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from rich.console import Console

from ..cli import check_checkpoint, load_config, set_work_dir
from ..cli.arguments import add_config, add_force, add_launcher, make_parser, set_local_rank
from ..cli.drawing_names import tell_drawings_apart
from ..cli.drawings import draw_predictions, drawings_folder
from ..config_model import model_config
from ..datasets import check_data
from ..downloads import building_offline
from ..errors import UserError
from ..files import is_adapter, is_checkpoint, write_atomically
from ..files.existing import refuse_existing
from ..hooks import LoadedCheckpointHook
from ..hooks.rehearsal import rehearse
from ..hooks.run_check_hook import add_run_check_hook
from ..inference.asked import nearest_adapter
from ..inference.circles import mend_circles
from ..inference.forgetting import as_table, check_cases, measure_forgetting, parse_cases
from ..logs import is_first_process
from ..preflight import check_arguments, check_run
from ..preflight.peft_hook import hook_names


def parse_args(arguments: list[str]) -> argparse.Namespace:
    """Read what was typed behind the subcommand; ``--help`` and mistakes end the process."""
    parser = make_parser('test', __doc__)
    add_config(parser, 'test_dataloader.batch_size=4')
    parser.add_argument('checkpoint', help='checkpoint file or address')
    parser.add_argument(
        '--work-dir',
        help="folder for the metrics; default: the config's own, or ./work_dirs/NAME_OF_THE_CONFIG",
    )
    parser.add_argument('--out', metavar='FILE.pkl', help='write the predictions to a pickle file')
    add_force(parser)
    parser.add_argument('--show', action='store_true', help='show the predictions in a window')
    parser.add_argument(
        '--show-dir',
        help='write images of the predictions to this folder: a whole path, or one below the time '
        'stamp in the work directory; label maps and classes of images to its vis_data/vis_image, '
        'below the work directory itself',
    )
    parser.add_argument('--wait-time', type=float, default=2, help='seconds that --show waits')
    parser.add_argument('--tta', action='store_true', help='average over augmented images')
    parser.add_argument(
        '--forgetting',
        nargs='+',
        default=[],
        metavar='NAME=PLACE',
        help='also test adapters of this model, on and off, and other checkpoints of it on the '
        'same data: what is left of what it knew',
    )
    add_launcher(parser)
    args = parser.parse_args(arguments)
    set_local_rank(args)
    return args


def set_tta(cfg: Config) -> None:
    """Wrap model and pipeline for test-time augmentation: the config's own, else flips."""
    dataset = cfg.test_dataloader.dataset
    while 'dataset' in dataset:
        dataset = dataset.dataset
    if 'tta_model' not in cfg:
        _note('--tta: the config has no tta_model; DetTTAModel with NMS at 0.5 is taken')
        cfg.tta_model = dict(
            type='DetTTAModel',
            tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100),
        )
    if 'tta_pipeline' not in cfg:
        _note('--tta: the config has no tta_pipeline; each image and its mirror image are taken')
        pack = dict(
            type='PackDetInputs',
            meta_keys=(
                'img_id',
                'img_path',
                'ori_shape',
                'img_shape',
                'scale_factor',
                'flip',
                'flip_direction',
            ),
        )
        flips = [dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0.0)]
        # The last step of a test pipeline packs; here it has to come after the flips.
        cfg.tta_pipeline = [
            *copy.deepcopy(dataset.pipeline[:-1]),
            dict(type='TestTimeAug', transforms=[flips, [pack]]),
        ]
    # What is at the top of the config is for the model, not for what averages its results.
    cfg.model = ConfigDict(**cfg.tta_model, module=model_config(cfg))
    dataset.pipeline = cfg.tta_pipeline


def _note(line: str) -> None:
    if is_first_process():
        print_log(line, logger='current')


def apply_args(cfg: Config, args: argparse.Namespace) -> None:
    """Put the arguments into the config.

    Raises:
        UserError: An argument does not fit the config.
    """
    if args.out is not None and not args.out.endswith(('.pkl', '.pickle')):
        raise UserError(f'--out {args.out}: the name must end with .pkl or .pickle')
    refuse_existing(args.force, args.out)
    check_checkpoint(args.checkpoint)
    cfg.launcher = args.launcher
    cfg.load_from = args.checkpoint
    set_work_dir(cfg, args.config, args.work_dir)
    if args.show or args.show_dir:
        draw_predictions(cfg, args.show, args.wait_time, args.show_dir)
    if args.tta:
        set_tta(cfg)


def main(arguments: list[str]) -> None:
    """Run the subcommand."""
    args = parse_args(arguments)
    cases = parse_cases(args.forgetting)
    for name, place in cases.items():
        if not is_adapter(place):
            near = '' if is_checkpoint(place) else nearest_adapter(place)
            if near:
                raise UserError(f'--forgetting {name}={place}: there is no such adapter{near}')
            check_checkpoint(place)
    if cases and args.launcher != 'none':
        raise UserError('--forgetting tests in one process; leave --launcher away')
    setup_cache_size_limit_of_dynamo()
    cfg = load_config(args.config, args.cfg_options)
    check_run(cfg)
    check_arguments(cfg, ('test',))
    check_data(cfg, ('test',))
    base = copy.deepcopy(cfg)  # without what averages its results
    apply_args(cfg, args)
    check_cases(base, args.checkpoint, cases)
    with building_offline():
        rehearse(cfg, trains=False)
        runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    mend_circles(runner.visualizer)
    if args.show_dir:
        tell_drawings_apart(runner)
    add_run_check_hook(runner)
    if args.out is not None:
        runner.test_evaluator.metrics.append(DumpDetResults(out_file_path=args.out))
    if 'PEFTInjectHook' not in hook_names(cfg):
        runner.register_hook(LoadedCheckpointHook())
    metrics = runner.test()
    if cases:
        found = measure_forgetting(runner, metrics, cases)
        Console().print(as_table(found))
        file = Path(runner.work_dir, runner.timestamp, 'forgetting.json')
        text = json.dumps([dataclasses.asdict(case) for case in found], indent=1, default=float)
        write_atomically(file, lambda part: Path(part).write_text(text, encoding='utf-8'))
        print_log(f'all of it: {file}', logger='current')
    if args.show_dir:
        folder = drawings_folder(cfg, runner.timestamp, args.show_dir)
        print_log(f'images of the predictions: {folder}', logger='current')
