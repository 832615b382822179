"""List the config files that come along, and copy them to change them.

Examples:
    mmadapt configs list
    mmadapt configs copy peft/rtmdet_tiny_lora_face.py .

A copy works wherever it lies: what it inherits from this package it names by `mmadapt.base`. To
inherit a file without a copy, `_base_ = [..., __import__('mmadapt').base('peft/lora.py')]`.
"""

import argparse
from pathlib import Path

from ..cli.arguments import add_force, make_parser
from ..config_files import config_names, copy_of, first_sentence
from ..files.atomic import write_atomically
from ..files.existing import refuse_existing


def parse_args(arguments: list[str]) -> argparse.Namespace:
    """Read what was typed behind the subcommand; ``--help`` and mistakes end the process."""
    parser = make_parser('configs', __doc__)
    verbs = parser.add_subparsers(dest='verb', required=True, metavar='list|copy')
    verbs.add_parser('list', help='name all, with the first sentence of each')
    copy = verbs.add_parser('copy', help='copy one')
    copy.add_argument('name', help='as `mmadapt configs list` has it')
    copy.add_argument('place', nargs='?', default='.', help='a folder or file; by default here')
    add_force(copy)
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> None:
    """Run the subcommand."""
    args = parse_args(arguments)
    if args.verb == 'copy':
        copy, text = copy_of(args.name, args.place)
        refuse_existing(args.force, copy, text=text)
        write_atomically(copy, lambda part: Path(part).write_text(text, encoding='utf-8'))
        print(copy)
        return
    for name in config_names():
        print(f'{name:46} {first_sentence(name)}')
