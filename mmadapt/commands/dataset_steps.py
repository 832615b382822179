"""What `mmadapt dataset` does alike with data sets of every kind."""

import argparse
import shlex
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from ..datasets.base_config import variable_prefix
from ..datasets.coco_fix import refuse_read_only
from ..datasets.problems import Problems
from ..datasets.sheets import Sheet, written_names
from ..errors import WriteError
from ..files.atomic import write_atomically
from ..files.existing import would_change


def say(console: Console, line: str, style: str = 'green') -> None:
    """Print a line."""
    console.print(escape(line), style=style, soft_wrap=True)


def prefix_of(args: argparse.Namespace) -> str:
    """Return what every name in the file begins with."""
    return variable_prefix(
        args.name or (Path(args.out).stem if args.out else Path(args.folder).resolve().name)
    )


def draw_images(console: Console, sheet: Sheet, folder: Path, out: Path, overwrite: bool) -> None:
    """Draw training images into a file, where there are any, and say so."""
    if not sheet.images:
        return
    sheet.write(out, folder.resolve().name, overwrite)
    say(
        console,
        f'drew {out}: {len(sheet.images):,} training images with {sheet.shown:,} of '
        f'{len(sheet.classes):,} classes',
    )
    written = zip(written_names(sheet.classes), sheet.classes, strict=True)
    lost = [f'{text} is {name}' for text, name in written if text != name]
    if lost:
        listed = ', '.join(lost[:20]) + ', ...' * (len(lost) > 20)
        say(console, f'no font here has the letters of some names: {listed}', 'yellow')


def typed(arguments: list[str], show: str | None) -> str:
    """Return what makes the config, without what only says how it is looked at or written."""
    words = [w for w in arguments if w != '--force' and not w.startswith('--show=')]
    if '--show' in words:
        place = words.index('--show')
        del words[place : place + 1 + bool(show)]
    return shlex.join(['mmadapt', 'dataset', *words])


def count_errors(console: Console, problems: Problems) -> int:
    """Say how many errors forbid to write the config; returns the exit code."""
    count = problems.count('error')
    console.print(f'{count} error{"s" * (count > 1)}: no config written', style='red')
    return 1


def say_read_only(console: Console, error: WriteError, folder: Path) -> None:
    """Say what to do where no corrected copy can be written."""
    links = f'cp -rs {folder.resolve()} NEW && chmod -R u+w NEW'
    say(
        console,
        f'{error}; where nothing can be written beside the annotations, make a folder of links and '
        f'use that: {links}',
        'red',
    )


def write_config(console: Console, out: Path, text: str, arguments: list[str], force: bool) -> bool:
    """Write the config, or say why not.

    Args:
        console (Console): Where it is said.
        out (Path): The file.
        text (str): What is written.
        arguments (list[str]): What was typed.
        force (bool): Whether a file that is there and differs may be replaced.

    Returns:
        bool: Whether it is written.
    """
    try:
        if would_change(out, text) and not force:
            again = shlex.join(['mmadapt', 'dataset', *arguments, '--force'])
            say(
                console,
                f'{out} exists and differs: {again} overwrites it, --out names another file',
                'red',
            )
            return False
        refuse_read_only(out)
        write_atomically(out, lambda part: Path(part).write_text(text, encoding='utf-8'))
    except WriteError as error:
        say(console, f'{error}; nothing was changed there: --out names a file elsewhere', 'red')
        return False
    return True
