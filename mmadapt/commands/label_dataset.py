"""What `mmadapt dataset` does with label maps and with folders of classes."""

import argparse
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..datasets.base_config import SPLIT_ORDER
from ..datasets.class_folders import ClassExport, make_missing_folders, read_class_folders
from ..datasets.class_sheet import class_sheet
from ..datasets.label_config import label_lines_to_paste, render_labels, rows_of
from ..datasets.label_export import LabelExport, read_label_export
from ..datasets.label_layout import annotates_boxes, find_class_folders, find_map_folders
from ..datasets.label_map_fix import write_fixed_maps
from ..datasets.map_sheet import map_sheet
from ..datasets.problems import Problems
from ..datasets.sheets import sheet_path
from ..datasets.tables import show_problems
from ..errors import UserError
from .dataset_steps import count_errors, draw_images, prefix_of, say, typed, write_config

# What means the same for every kind of data set.
_COMMON = {'folder', 'out', 'name', 'skip_test', 'fix', 'force', 'max_shown', 'show'}
_OF_MAPS = {'classes', 'reduce_zero_label'}


def add_label_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is asked of label maps only."""
    parser.add_argument(
        '--classes',
        metavar='A,B,C',
        help='label maps: the names of the classes, in the order of their values from 0; by '
        'default those in classes.txt of the folder. In a folder that also has annotation files of '
        'boxes, it says that the maps are meant',
    )
    parser.add_argument(
        '--reduce-zero-label',
        action='store_true',
        help='label maps: 0 is no class and ignored, 1 is the first class',
    )


def kind_of(folder: Path, args: argparse.Namespace) -> str | None:
    """Return 'label maps' or 'folders of classes' where a folder holds them and no other is meant.

    Args:
        folder (Path): The data set folder.
        args (argparse.Namespace): What was typed.

    Raises:
        UserError: An option was typed that the data set has no use for.
    """
    kind = None
    if not any(getattr(args, f'{split}_ann') for split in SPLIT_ORDER):
        asked = bool(args.classes or args.reduce_zero_label)
        if find_map_folders(folder) and (asked or not annotates_boxes(folder)):
            kind = 'label maps'
        elif find_class_folders(folder):
            kind = 'folders of classes'
    allowed = _COMMON | _OF_MAPS if kind == 'label maps' else _COMMON
    for name, value in vars(args).items():
        is_other = name in _OF_MAPS if kind is None else name not in allowed
        if is_other and value not in (None, False):
            what = kind or 'boxes'
            raise UserError(
                f'--{name.replace("_", "-")} means nothing for {what}, which is what {folder} '
                'holds: leave it out'
            )
    return kind


def write_label_config(
    kind: str, args: argparse.Namespace, arguments: list[str], console: Console
) -> int:
    """Check a data set and write its config.

    Args:
        kind (str): What :func:`kind_of` says of it.
        args (argparse.Namespace): What was typed.
        arguments (list[str]): The same as words.
        console (Console): Where it is said.

    Returns:
        int: The exit code.
    """
    folder = Path(args.folder)
    splits = SPLIT_ORDER[:2] if args.skip_test else SPLIT_ORDER
    classes = [name.strip() for name in args.classes.split(',')] if args.classes else []

    def read(fixed=()) -> LabelExport | ClassExport:
        with console.status(f'reading {escape(str(folder))}, {kind}'):
            if kind == 'label maps':
                return read_label_export(folder, splits, classes, args.reduce_zero_label, fixed)
            return read_class_folders(folder, splits)

    prefix = prefix_of(args)
    sheet = sheet_path(args.show, prefix)
    export = read()
    if args.fix:
        fixed = _fix(export, args.force, console)
        if fixed is not None:
            export = read(fixed)
    _show_table(export, console)
    show_problems(console, export.problems, args.max_shown)
    if args.show is not None:
        images = map_sheet(export) if isinstance(export, LabelExport) else class_sheet(export)
        draw_images(console, images, folder, sheet, args.force)
    if export.problems.has_errors:
        return count_errors(console, export.problems)
    out = Path(args.out or f'configs/_base_/datasets/{prefix}.py')
    text = render_labels(export, prefix, f'{folder.as_posix()}/', typed(arguments, args.show))
    if not write_config(console, out, text, arguments, args.force):
        return 1
    say(
        console,
        f'wrote {out} (classes: {len(export.classes)}); every name in it begins with {prefix}_',
    )
    say(console, '\nA config begins with, for instance:')
    for line in label_lines_to_paste(export, prefix, out):
        console.print(escape(line), soft_wrap=True, highlight=False)
    return 0


def _fix(export: LabelExport | ClassExport, force: bool, console: Console) -> list[str] | None:
    """Mend what can be; returns the splits with copies, None where nothing was written."""
    problems: Problems = export.problems
    if any(not kind.fixable for kind in problems.kinds('error')):
        say(console, '--fix wrote nothing: some errors below need your decision', 'red')
        return None
    fixed: list[str] = []
    if isinstance(export, ClassExport):
        for path in make_missing_folders(export):
            say(console, f'made {path}, empty')
        return fixed
    for name, place, done in write_fixed_maps(export, force):
        say(console, f'wrote copies of the {name} maps into {place}: {"; ".join(done)}')
        fixed.append(name)
    return fixed


def _show_table(export: LabelExport | ClassExport, console: Console) -> None:
    """Print counts by class and split."""
    title, (head, *rows) = rows_of(export)
    table = Table(title=title, title_justify='left')
    table.add_column('label', justify='right')
    table.add_column(head[0])
    for name in head[1:]:
        table.add_column(name, justify='right')
    for label, row in enumerate(rows):
        table.add_row(str(label) if label < len(export.classes) else '', *map(escape, row))
    if export.splits:
        console.print(table)
