"""Say which recipes for training in less memory fit a card.

Examples:
    mmadapt plan rtmdet_tiny_lora_face.py --memory 4GiB
    mmadapt plan mmdet::dino/dino-5scale_swin-l_8xb2-12e_coco.py --memory 24GiB --processes 8

Nothing is run or downloaded: a step is followed on shapes alone, as on a GPU.
"""

import argparse

from ..cli import load_config
from ..cli.arguments import make_parser
from ..meters.tables import write_json
from ..planning.demand import parse_memory
from ..planning.plan import advice, plan_rows
from ..planning.tables import show_plan, write_plan
from ..recipes.command_line import ABOUT_RECIPES, add_arguments, read_table


def parse_args(arguments: list[str]) -> argparse.Namespace:
    """Read what was typed behind the subcommand; ``--help`` and mistakes end the process."""
    parser = make_parser('plan', f'{__doc__}\n{ABOUT_RECIPES}')
    add_arguments(parser, recipes_needed=False)
    parser.add_argument('--memory', metavar='24GiB', required=True, help='of a card')
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> None:
    """Run the subcommand."""
    args = parse_args(arguments)
    memory = parse_memory(args.memory)
    table = read_table(args)
    rows = plan_rows(table.recipes, table.setting, table.model, memory, table.say)
    report = dict(
        table.report,
        memory_bytes=memory,
        rows=rows,
        recommended=advice(
            rows, table.recipes, table.cfg, table.model, table.setting, load_config(args.config)
        ),
    )
    show_plan(report, table.console)
    if args.out:
        write_plan(report, args.out)
    if args.json:
        write_json(report, args.json)
