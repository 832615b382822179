"""What the parsers of several subcommands have in common."""

import argparse
import os

from .options import DictAction


def make_parser(name: str, doc: str) -> argparse.ArgumentParser:
    """Return the parser of a subcommand.

    Args:
        name (str): The subcommand.
        doc (str): What its help begins with: the docstring of its module, with an example.
    """
    return argparse.ArgumentParser(
        prog=f'mmadapt {name}',
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_config(parser: argparse.ArgumentParser, example: str = '') -> None:
    """Add the config, and ``--cfg-options``.

    Args:
        parser (argparse.ArgumentParser): The parser.
        example (str): A change of a value, for the help. Defaults to ''.
    """
    parser.add_argument('config', help='config file, or a stock one as mmdet::FOLDER/NAME.py')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='NAME=VALUE',
        help='change values of the config'
        + (example and f', such as {example}')
        + '; a list as key="[a,b]" or key=a,b, nested as key="[(a,b),(c,d)]", '
        'without spaces',
    )


def add_launcher(parser: argparse.ArgumentParser) -> None:
    """Add how the processes of a run were started, as launchers say it."""
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='how the processes of this run were started',
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def set_local_rank(args: argparse.Namespace) -> None:
    """Let libraries know which process of this machine this one is."""
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
