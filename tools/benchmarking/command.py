"""Measure what fine-tuning costs in every way: time, memory, files, merging; side by side.

    python tools/benchmark.py --out benchmark.md --json benchmark.json
    python tools/benchmark.py --models rtmdet-tiny faster-rcnn-r50 --rows 'lora-*' 'hf-*' --rounds 9

Models are built from stock configs with random weights, so nothing is downloaded. All rows of a
model are in memory at once and make one step each in turn; --rows says which of them. Full
fine-tuning is always measured, as everything is compared with it.
"""

import argparse
import shlex
import sys
import time

import torch
from mmengine.logging import MMLogger
from rich.console import Console

from mmadapt import UserError
from mmadapt.meters.tables import about, write_json

from .cases import SEED, SPECS, Case, find_spec_of
from .output import show, write_markdown
from .rows import select_rows
from .section import Section

SWITCH = {'off': (False,), 'on': (True,), 'both': (False, True)}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--models',
        nargs='+',
        default=['rtmdet-tiny'],
        metavar='MODEL',
        help=f'among {", ".join(SPECS)}; the first by default',
    )
    parser.add_argument(
        '--rows', nargs='+', metavar='ROW', help="names or globs such as 'dora-*'; all by default"
    )
    parser.add_argument('--size', type=int, default=320, help='side of the images, in pixels')
    parser.add_argument('--batch', type=int, default=4, help='number of images')
    parser.add_argument('--rounds', type=int, default=5, help='timed steps of each row')
    parser.add_argument('--device', choices=['auto', 'cpu', 'cuda'], default='auto')
    for name, what in (('amp', 'bfloat16 autocast'), ('compile', 'compiled backbone and neck')):
        parser.add_argument(
            f'--{name}',
            choices=list(SWITCH),
            default='off',
            nargs='?',
            const='on',
            help=f'{what}; `both`: one table without and one with',
        )
    parser.add_argument('--threads', type=int, help="of the CPU; torch's own choice by default")
    parser.add_argument('--out', metavar='FILE.md', help='write the tables as Markdown')
    parser.add_argument('--json', metavar='FILE.json', help='write everything, in bytes and s')
    args = parser.parse_args(argv)
    for name in ('batch', 'rounds', 'threads'):
        if (getattr(args, name) or 1) < 1 or getattr(args, name) == 0:
            raise UserError(f'--{name} must be at least 1, got {getattr(args, name)}')
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    rows, left_out = select_rows(args.rows)
    for name in args.models:
        find_spec_of(name, args.size)
    device = _device(args.device)
    if args.threads:
        torch.set_num_threads(args.threads)
    # What models say while they are built is no result.
    MMLogger.get_instance('benchmark', log_level='ERROR')
    console = Console(width=None if Console().is_terminal else 250, highlight=False)
    given = sys.argv[1:] if argv is None else argv
    report = about(shlex.join(['python', 'tools/benchmark.py', *given]), device, SEED)
    report.update(complete=False, sections=[])
    start = time.perf_counter()

    def say(line: str) -> None:
        console.print(f'[{time.perf_counter() - start:6.1f} s] {line}', style='dim', markup=False)

    section = None
    try:
        for name in args.models:
            case = Case(name, args.size, args.batch, device)
            for amp in SWITCH[args.amp]:
                for compiled in SWITCH[args.compile]:
                    section = Section(case, rows, left_out, amp, compiled, say)
                    section.run(args.rounds)
                    report['sections'].append(section.results())
                    show(report['sections'][-1], console)
                    section = None
        report['complete'] = True
    except KeyboardInterrupt:
        if section is not None:
            report['sections'].append(section.results())
            show(report['sections'][-1], console)
        raise KeyboardInterrupt('stopped by Ctrl-C: what has been measured is above') from None
    finally:
        if report['sections'] and args.out:
            write_markdown(report, args.out)
        if report['sections'] and args.json:
            write_json(report, args.json)
    failed = [name for section in report['sections'] for name in section['failed']]
    if failed:
        raise UserError(f'rows that failed: {", ".join(failed)}; the reasons are above')


def _device(name: str) -> torch.device:
    if name == 'cuda' and not torch.cuda.is_available():
        raise UserError('--device cuda: torch sees no GPU here; --device cpu measures without one')
    if name == 'auto':
        name = 'cuda' if torch.cuda.is_available() else 'cpu'
    return torch.device(name)
