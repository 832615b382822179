"""What the parsers of several subcommands have in common."""

import argparse
import os
import re
from typing import Any, NoReturn

from ..errors import UserError
from ..values import close_names
from .options import DictAction


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, with the nearest option; it takes no shortened ones.

    What is typed is looked through for whole options when a command to go on with is shown.
    """

    def __init__(self, **options) -> None:
        super().__init__(allow_abbrev=False, **options)

    def parse_known_args(self, args=None, namespace=None) -> Any:
        """Parse the arguments, none of which may be unknown.

        A subcommand's own subcommand is parsed by this too, so that its options are the nearest.

        Returns:
            tuple[argparse.Namespace, list]: Their values, and nothing.

        Raises:
            UserError: There is one too many, or :meth:`error` says what is wrong.
        """
        found, rest = super().parse_known_args(args, namespace)
        if rest:
            word = next((word for word in rest if word.startswith('-')), rest[0])
            options = re.findall(r'--[\w-]+', self.format_usage())
            near = close_names(word.partition('=')[0], options)
            self.error(f'{word} is no argument of it' + (f'; nearest: {near[0]}' if near else ''))
        return found, rest

    def error(self, message: str) -> NoReturn:
        """Say what is wrong.

        Raises:
            UserError: Always.
        """
        raise UserError(f'{self.prog}: {message}; `{self.prog} --help` shows how it is used')


def make_parser(name: str, doc: str) -> argparse.ArgumentParser:
    """Return the parser of a subcommand.

    Args:
        name (str): The subcommand.
        doc (str): What its help begins with: the docstring of its module, with an example.
    """
    return Parser(
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
    add_options(parser, example)


def add_options(parser: argparse.ArgumentParser, example: str = '') -> None:
    """Add ``--cfg-options``; takes what :func:`add_config` does."""
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


def add_force(parser: argparse.ArgumentParser) -> None:
    """Add ``--force``, without which :func:`~mmadapt.files.existing.refuse_existing` refuses."""
    parser.add_argument('--force', action='store_true', help='overwrite files that are there')
