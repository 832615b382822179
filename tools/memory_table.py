"""Measure what recipes for training in less memory take, or plan which of them fits a card.

    python tools/memory_table.py CONFIG --recipes none amp checkpoint lora+amp+checkpoint
    python tools/memory_table.py CONFIG --recipes fsdp2+amp+checkpoint zero2+lora --processes 2
    python tools/memory_table.py CONFIG --plan --memory 24GiB --processes 8

A recipe is put together of `amp`, `checkpoint` (or `checkpoint:backbone`, ...), `lora`, `dora`,
`ssf` or `peft` (what the config's own `peft` says, and the default of a plan where it has one), and
`ddp`, `fsdp2`, `zero2` or `zero3`; `none` is none of these, whatever the config says, and `config`
the config as it is. The pictures are random and nothing is downloaded. Each row runs
in processes of its own. A plan runs nothing: it follows a step on shapes alone, as on a GPU.
"""

if __name__ == '__main__':
    import ctrl_c  # noqa: F401  before all that takes seconds to import

import argparse
import shlex
import sys
import time
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from benchmarking.cases import SEED
from benchmarking.output import about, write_json
from memory.changes import describe, keys_of
from memory.output import show_measured, show_plan, write_markdown
from memory.plan import parse_memory
from memory.planning import advice, plan_rows
from memory.recipes import default_recipes, parse_recipe
from memory.row import FAILED, run_row
from memory.rows import Setting, run_rows
from mmengine.config import Config
from mmengine.logging import MMLogger
from rich.console import Console

from mmadapt import UserError
from mmadapt.cli import load_config, run_tool
from mmadapt.cli.options import DictAction
from mmadapt.configs.picture_size import padded, picture_size

_AT_LEAST = dict(batch=1, processes=1, iterations=1, warm_up=1, threads=1)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file, or a stock one as mmdet::FOLDER/NAME.py')
    parser.add_argument('--recipes', nargs='+', metavar='RECIPE', help='what to measure; of a plan '
                        'by default all that there are')
    parser.add_argument('--size', type=int, nargs=2, metavar=('HEIGHT', 'WIDTH'),
                        help="of the pictures; the largest of the config's pipeline by default")
    parser.add_argument('--batch', type=int, help="pictures of a process; the config's by default")
    parser.add_argument('--processes', type=int, default=1, help='1 by default')
    parser.add_argument('--iterations', type=int, default=5, help='timed ones; 5 by default')
    parser.add_argument('--warm-up', type=int, default=2, help='dropped before; 2 by default')
    parser.add_argument('--device', choices=['auto', 'cpu', 'cuda'], default='auto')
    parser.add_argument('--threads', type=int, help='of each process, on a CPU')
    parser.add_argument('--plan', action='store_true', help='say which recipe fits --memory')
    parser.add_argument('--memory', metavar='24GiB', help='of a card, for --plan')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='NAME=VALUE',
                        help='change values of the config')
    parser.add_argument('--logs', metavar='FOLDER', help='keep the logs of the rows there')
    parser.add_argument('--out', metavar='FILE.md', help='write the table as Markdown')
    parser.add_argument('--json', metavar='FILE.json', help='write everything, in bytes and s')
    args = parser.parse_args(argv)
    if args.plan != (args.memory is not None):
        raise UserError('--plan and --memory go together, as in --plan --memory 24GiB')
    if not args.plan and not args.recipes:
        raise UserError('name what to measure, as in --recipes none amp checkpoint; or --plan')
    for name, least in (*_AT_LEAST.items(), ('size', 32)):
        value = getattr(args, name)
        if value is not None and min(value if name == 'size' else [value]) < least:
            raise UserError(f'--{name.replace("_", "-")} must be at least {least}, got {value}')
    return args


def main(argv: list[str] | None = None) -> None:
    given = sys.argv[1:] if argv is None else argv
    if given[:1] == ['--row']:  # how this tool starts its rows
        sys.exit(run_row(given[1]))
    args = parse_args(argv)
    # Of the packages that models are built with, over and over; a training says them.
    warnings.simplefilter('ignore')
    memory = parse_memory(args.memory) if args.plan else None
    recipes = [parse_recipe(name) for name in args.recipes or ()]
    if args.device == 'cuda' and not torch.cuda.is_available():
        raise UserError('--device cuda: torch sees no GPU here; --device cpu measures without one')
    if args.device == 'auto':
        args.device = 'cuda' if torch.cuda.is_available() else 'cpu'
    MMLogger.get_instance('memory', log_level='ERROR')  # what models say while they are built
    console = Console(width=None if Console().is_terminal else 250, highlight=False)
    start = time.perf_counter()

    def say(line: str) -> None:
        console.print(f'[{time.perf_counter() - start:6.1f} s] {line}', style='dim', markup=False)

    cfg = load_config(args.config, args.cfg_options)
    for key in ('model', 'train_dataloader', 'optim_wrapper'):
        if not cfg.get(key):
            raise UserError(f'{args.config}: there is no {key}, so that nothing can be trained')
    if args.batch is None:
        args.batch = cfg.train_dataloader.get('batch_size')
        if args.batch is None:
            raise UserError(f'{args.config}: train_dataloader has no batch_size; say with --batch '
                            'how many pictures a process has')
    recipes = recipes or default_recipes(args.processes, cfg.get('peft') is not None)
    size = _size_of(cfg, args)
    setting = Setting(args.config, args.cfg_options or {}, size, args.batch, args.processes,
                      args.iterations, args.warm_up, args.device, args.threads)
    model = describe(cfg)
    for recipe in recipes:
        keys_of(recipe, cfg, model)  # now, not after an hour
    report = dict(about(shlex.join(['python', 'tools/memory_table.py', *given]),
                        torch.device(args.device), SEED),
                  config=args.config, size=size, batch=args.batch, processes=args.processes,
                  device_type=args.device)
    if args.plan:
        rows = plan_rows(recipes, setting, model, memory, say)
        report.update(memory_bytes=memory, rows=rows,
                      recommended=advice(rows, recipes, cfg, model, setting,
                                         load_config(args.config)))
        show_plan(report, console)
    else:
        with TemporaryDirectory() as folder:
            report['rows'] = run_rows(recipes, setting, model, Path(args.logs or folder), say)
        report['complete'] = len(report['rows']) == len(recipes)
        show_measured(report, console)
    if args.out:
        write_markdown(report, args.out)
    if args.json:
        write_json(report, args.json)
    if any(row.get('status') == FAILED for row in report['rows']):
        raise UserError('some rows failed, for the reasons above; --logs FOLDER keeps their logs')


def _size_of(cfg: Config, args: argparse.Namespace) -> tuple[int, int]:
    """Return the height and width of the pictures, as the data preprocessor pads them."""
    size = picture_size(cfg) if args.size is None else padded(
        args.size, cfg.model.get('data_preprocessor'))
    if size is None:
        raise UserError(f'{args.config}: the pipeline of train_dataloader says no size; say with '
                        '--size HEIGHT WIDTH how large its pictures are')
    return size


if __name__ == '__main__':
    run_tool(main)
