"""Install an optional package, with what it needs here and without moving what is there.

Examples:
    mmadapt install
    mmadapt install pose
    mmadapt install seg cls quant

Without a name it says which there are and which of them are installed. pip is run by the Python
that runs this command; versions of torch, numpy, MMEngine and the like stay.
"""

import argparse
import importlib.util
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from packaging.requirements import Requirement

from ..cli.arguments import make_parser
from ..compat.versions import FORKS, installed_distribution, installed_version
from ..errors import UserError
from ..extras import EXTRAS, pip_arguments, requirement_files
from ..values import nearest

# Bound to each other, to the machine or to its data: an extra goes with them or is refused by pip.
KEPT = ('torch', 'torchvision', 'numpy', 'mmengine', 'mmcv', 'mmdet', 'opencv-python')
# Without the folder in which it is run, whose files could have the names of what is checked; -P
# says that from Python 3.11 on.
_CHECK = """
import sys
sys.path[:] = [place for place in sys.path if place]
import importlib, warnings
warnings.simplefilter('ignore')
for name in sys.argv[1:]:
    try:
        module = importlib.import_module(name)
    except Exception as error:
        sys.exit(f'import {name}: {type(error).__name__}: {error}')
    if '.' not in name:
        print(name, getattr(module, '__version__', ''))
"""


def parse_args(arguments: list[str]) -> argparse.Namespace:
    """Read what was typed behind the subcommand; ``--help`` and mistakes end the process."""
    parser = make_parser('install', __doc__)
    parser.add_argument('extras', nargs='*', metavar='EXTRA', help=', '.join(EXTRAS))
    parser.add_argument('--dry-run', action='store_true', help="only print pip's commands")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Run the subcommand."""
    args = parse_args(arguments)
    for name in args.extras:
        if name not in EXTRAS:
            raise UserError(
                f'there is no extra {name!r} (nearest: {nearest(name, EXTRAS)}); '
                f'all: {", ".join(EXTRAS)}'
            )
    if not args.extras:
        show_extras()
    elif args.dry_run:
        for name in args.extras:
            for words in pip_arguments(name, []):
                print(shlex.join(['pip', 'install', *words]))
    else:
        if importlib.util.find_spec('pip') is None:
            raise UserError(
                f'{sys.executable} has no pip: {shlex.join([sys.executable, "-m", "ensurepip"])}, '
                'or in an environment made by uv: uv pip install pip'
            )
        for name in args.extras:
            refuse_over_forks(name)
        for name in args.extras:
            install(name)
    return 0


def show_extras() -> None:
    """Print which extras there are, and the versions of those that are installed."""
    for name, extra in EXTRAS.items():
        found = [(module, installed_version(module)) for module in extra.modules]
        there = ', '.join(f'{module} {at}' for module, at in found if at)
        print(f'{name:10} {extra.brings}: {there or "not installed"}')


def install(name: str) -> None:
    """Run pip's commands for an extra, and import what it brought.

    Args:
        name (str): One of :data:`mmadapt.extras.EXTRAS`.

    Raises:
        UserError: A command of pip failed, which has said why, or something cannot be imported.
    """
    extra = EXTRAS[name]
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / 'constraints.txt'
        constraints.write_text('\n'.join(kept_versions()) + '\n')
        commands = pip_arguments(name, [constraints])
        for words in commands:
            run_pip(words, name)
        wrong, printed = try_import(extra.modules)
        source = [words for words in commands if '--no-binary=:all:' in words]
        if wrong and source:
            # A wheel of the same version was there: to pip that is all there is to have.
            for words in source:
                run_pip(['--force-reinstall', *words], name)
            wrong, printed = try_import(extra.modules)
    if wrong:
        raise UserError(f'{name} is installed, but {wrong}; `mmadapt env` shows the versions')
    print(f'{name}: {printed}')


def kept_versions() -> list[str]:
    """Return what is installed of :data:`KEPT`, as lines of a file of constraints."""
    lines = []
    for name in KEPT:
        owner = installed_distribution(name)
        if owner is not None:
            lines.append(f'{owner}=={installed_version(name)}')
            if owner != name:
                # Its fork is there: pip would write the stock files over that one's, as it is sure
                # that the two have nothing to do with each other. No version is below 0.
                lines.append(f'{name}<0')
    return lines


def refuse_over_forks(name: str) -> None:
    """Check that an extra does not ask for what a maintained fork has brought.

    Args:
        name (str): One of :data:`mmadapt.extras.EXTRAS`.

    Raises:
        UserError: It does.
    """
    text = ''.join(file.read_text(encoding='utf-8') for file in requirement_files(name))
    lines = [line.partition('#')[0].strip() for line in text.splitlines()]
    asked = {Requirement(line).name: line for line in lines if line}
    owners = {stock: installed_distribution(stock) for stock in asked if stock in FORKS}
    forks = {stock: owner for stock, owner in owners.items() if owner not in (None, stock)}
    others = [line for stock, line in asked.items() if stock not in forks]
    if forks:
        raise UserError(
            f'{name} asks for {", ".join(forks)}, which {", ".join(map(str, forks.values()))} has '
            'brought: the stock files would be written over those'
            + (f'; the others alone: {shlex.join(["pip", "install", *others])}' if others else '')
        )


def run_pip(words: list[str], name: str) -> None:
    """Run `pip install`, whose output is shown as it comes.

    Args:
        words (list[str]): What follows `pip install`.
        name (str): The extra, for messages.

    Raises:
        UserError: It failed, and has said why.
    """
    print(f'$ {shlex.join(["pip", "install", *words])}', flush=True)
    command = [sys.executable, '-m', 'pip', '--disable-pip-version-check', 'install', *words]
    code = subprocess.run(command, check=False).returncode
    if code:
        raise UserError(
            f'{name} is not installed: pip ended with {code}, see above; what was installed before '
            'that stays, and the same command goes on there'
        )


def try_import(modules: tuple[str, ...]) -> tuple[str, str]:
    """Import modules in a process of their own.

    Args:
        modules (tuple[str, ...]): Their names.

    Returns:
        tuple[str, str]: What went wrong, in one line, empty if nothing did; and the versions.
    """
    done = subprocess.run(
        [sys.executable, '-c', _CHECK, *modules], capture_output=True, text=True, check=False
    )
    lines = done.stderr.strip().splitlines() or ['Python ended without a word']
    return (lines[-1] if done.returncode else ''), ', '.join(done.stdout.split('\n')[:-1])
