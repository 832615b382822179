"""Measure what recipes for training in less memory take: memory, time and what trains.

Examples:
    mmadapt measure rtmdet_tiny_lora_face.py --recipes none amp lora+amp+checkpoint
    mmadapt measure rtmdet_tiny_lora_face.py --recipes ddp+lora fsdp2+lora --processes 2

The images are random and nothing is downloaded. Each row runs in processes of its own.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from ..cli.arguments import make_parser
from ..errors import UserError
from ..measuring.row import FAILED
from ..measuring.rows import run_rows
from ..measuring.tables import show_measured, write_measured
from ..meters.tables import write_json
from ..recipes.command_line import ABOUT_RECIPES, add_arguments, read_table


def parse_args(arguments: list[str]) -> argparse.Namespace:
    """Read what was typed behind the subcommand; ``--help`` and mistakes end the process."""
    parser = make_parser('measure', f'{__doc__}\n{ABOUT_RECIPES}')
    add_arguments(parser, recipes_needed=True)
    parser.add_argument('--iterations', type=int, default=5, help='timed ones; 5 by default')
    parser.add_argument('--warm-up', type=int, default=2, help='dropped before; 2 by default')
    parser.add_argument('--device', choices=['auto', 'cpu', 'cuda'], default='auto')
    parser.add_argument('--threads', type=int, help='of each process, on a CPU')
    parser.add_argument('--logs', metavar='FOLDER', help='keep the logs of the rows there')
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> None:
    """Run the subcommand."""
    args = parse_args(arguments)
    if args.device == 'cuda' and not torch.cuda.is_available():
        raise UserError('--device cuda: torch sees no GPU here; --device cpu measures without one')
    if args.logs and [*Path(args.logs).glob('*')]:
        raise UserError(f'--logs {args.logs}: there is something in it; name a new folder')
    device = args.device
    if device == 'auto':
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
    table = read_table(args, device, args.iterations, args.warm_up, args.threads)
    with TemporaryDirectory() as folder:
        rows = run_rows(
            table.recipes, table.setting, table.model, Path(args.logs or folder), table.say
        )
    report = dict(table.report, rows=rows, complete=len(rows) == len(table.recipes))
    show_measured(report, table.console)
    if args.out:
        write_measured(report, args.out)
    if args.json:
        write_json(report, args.json)
    if any(row.get('status') == FAILED for row in rows):
        raise UserError('some rows failed, for the reasons above; --logs FOLDER keeps their logs')
