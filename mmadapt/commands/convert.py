"""Convert a job of nyuntam_adapt, a YAML file, to a config, and say what became of each key.

Examples:
    mmadapt convert job.yaml -o configs/my_job.py
    mmadapt convert job.yaml -o configs/my_job.py --run

Beside the config its data set's file is written, which it inherits. Each key of the job is listed
with what it became, or why it cannot apply here. With an error nothing is written and the exit code
is 2. --run then trains, on as many processes as the job says, and writes where it says.
"""

import argparse
import os
import shlex
import subprocess
import sys
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mmadapt_command import typed_words

from ..cli.arguments import add_force, make_parser
from ..errors import UserError
from ..files.atomic import write_atomically
from ..files.existing import refuse_existing
from ..jobs import Converted, Job, convert_job, read_job
from ..jobs.convert import data_file

_STYLES = dict(became='', warning='yellow', error='red')


def parse_args(arguments: list[str]) -> argparse.Namespace:
    """Read what was typed behind the subcommand; ``--help`` and mistakes end the process."""
    parser = make_parser('convert', __doc__)
    parser.add_argument('job', help='the YAML file')
    parser.add_argument(
        '-o', '--out', metavar='CONFIG.py', help='the config to write; by default beside the job'
    )
    parser.add_argument('--run', action='store_true', help='train it then')
    parser.add_argument(
        '--keep-schedule',
        action='store_true',
        help='leave END, T_MAX and milestones that lie beyond the run as they are',
    )
    parser.add_argument(
        '--keep-unused', action='store_true', help='keep the parent category of Roboflow as a class'
    )
    add_force(parser)
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Run the subcommand."""
    args = parse_args(arguments)
    console = Console(highlight=False, width=None if Console().is_terminal else 250)
    out = Path(args.out or Path(args.job).with_suffix('.py'))
    if out.suffix != '.py':
        raise UserError(f'-o {out}: a config ends with .py')
    job = read_job(args.job)
    converted = convert_job(job, out, typed_words(), args.keep_schedule, args.keep_unused)
    _show(console, job)
    if converted is None:
        count = len(job.errors)
        console.print(f'{count} error{"s" * (count > 1)}: nothing was written', style='red')
        return 2
    for note in converted.notes:
        console.print(escape(f'data: {note}'), style='yellow', soft_wrap=True)
    if args.run and converted.nodes > 1:
        raise UserError(
            f'--run starts one machine, and the job says {converted.nodes}: leave it out, and '
            'start the command that it prints on each'
        )
    _write(console, out, converted, args.force)
    return _run(converted) if args.run else 0


def _show(console: Console, job: Job) -> None:
    table = Table(box=None, pad_edge=False)
    for name in ('key', 'value', 'became'):
        table.add_column(name, overflow='fold')
    order = {key: place for place, key in enumerate(job.values)}
    for line in sorted(job.lines, key=lambda one: order.get(one.key, len(order))):
        value = '' if line.value is None else str(line.value)
        said = line.said if line.level == 'became' else f'{line.level}: {line.said}'
        table.add_row(escape(line.key), escape(value), escape(said), style=_STYLES[line.level])
    console.print(table)


def _write(console: Console, out: Path, converted: Converted, force: bool) -> None:
    texts = {data_file(out): converted.data, out: converted.config}
    for path, text in texts.items():
        refuse_existing(force, path, text=text)
    for path, text in texts.items():
        write_atomically(path, partial(_write_text, text))
    variables = [f'{name}={shlex.quote(value)}' for name, value in converted.environment.items()]
    console.print(f'wrote {out} and {data_file(out)}', style='green', soft_wrap=True)
    console.print(escape(' '.join([*variables, shlex.join(converted.command)])), soft_wrap=True)
    if converted.nodes > 1:
        variables += [f'NNODES={converted.nodes}', 'NODE_RANK=0', 'MASTER_ADDR=HOST']
    if converted.command[-2] == 'train':
        line = ['dist_train.sh', str(out), str(converted.processes)]
        said = f'in a clone: {" ".join([*variables, shlex.join(line)])}'
        console.print(escape(said), soft_wrap=True)


def _write_text(text: str, path: str) -> None:
    Path(path).write_text(text, encoding='utf-8')


def _run(converted: Converted) -> int:
    command = [sys.executable, '-m', 'mmadapt_command', *converted.command[1:]]
    return subprocess.run(command, env={**os.environ, **converted.environment}).returncode
