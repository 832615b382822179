"""Train or test on several processes of this machine: one a GPU, or several on a CPU.

Examples:
    mmadapt launch 2 train rtmdet_tiny_lora_face.py
    mmadapt launch 2 test rtmdet_tiny_lora_face.py work_dirs/rtmdet_tiny_lora_face/epoch_1.pth

On several machines it is started on each, with --nodes, --node-rank and --master-addr.
"""

import argparse
import os
import shlex

from mmadapt_command import typed_words

from ..cli.arguments import make_parser
from ..cli.launcher import launch
from ..values import check_count


def parse_args(arguments: list[str]) -> argparse.Namespace:
    """Read what was typed behind the subcommand; ``--help`` and mistakes end the process."""
    parser = make_parser('launch', __doc__)
    parser.add_argument('--nodes', type=int, default=1, help='how many machines; 1 by default')
    parser.add_argument('--node-rank', type=int, default=0, help='which of them this one is')
    parser.add_argument('--master-addr', default='127.0.0.1', help='address of the first')
    parser.add_argument(
        '--master-port',
        type=int,
        help='a port of it; 29500 by default, and on a single machine any that is free',
    )
    parser.add_argument('processes', type=int, help='how many on this machine')
    parser.add_argument('subcommand', choices=['train', 'test'])
    parser.add_argument('arguments', nargs=argparse.REMAINDER, help='what the subcommand takes')
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Run the subcommand."""
    args = parse_args(arguments)
    check_count('mmadapt launch: the number of processes', args.processes)
    os.environ.setdefault('MMADAPT_COMMAND', shlex.join(typed_words()))
    return launch(
        [
            *_where(args),
            '--nproc-per-node',
            str(args.processes),
            '-m',
            'mmadapt_command',
            args.subcommand,
            *args.arguments,
            '--launcher',
            'pytorch',
        ]
    )


def _where(args: argparse.Namespace) -> list[str]:
    if args.nodes == 1 and args.master_port is None:
        return ['--standalone']  # on a free port, so that several runs fit on one machine
    return [
        '--nnodes',
        str(args.nodes),
        '--node-rank',
        str(args.node_rank),
        '--master-addr',
        args.master_addr,
        '--master-port',
        str(args.master_port or 29500),
    ]
