"""Check a COCO or Roboflow export and write a `_base_` data set file for it.

Examples:
    mmadapt dataset data/face_det --out face_det.py

Prints the classes and boxes of each split and everything that is wrong, file by file. The config
is written only when no error is left; then the exit code is 0, otherwise 1.
"""

import argparse
import shlex
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..cli.arguments import add_force, make_parser
from ..datasets import Export, read_export
from ..datasets.base_config import (
    SPLIT_ORDER,
    lines_to_paste,
    num_boxes,
    num_left_out,
    render,
    variable_prefix,
)
from ..datasets.coco_fix import refuse_read_only, write_fixed, write_mask_files
from ..datasets.use_checks import NO_MASKS, NOTHING_ELSE
from ..errors import WriteError
from ..files.atomic import write_atomically
from ..files.existing import would_change


def parse_args(arguments: list[str]) -> argparse.Namespace:
    """Read what was typed behind the subcommand; ``--help`` and mistakes end the process."""
    parser = make_parser('dataset', __doc__)
    parser.add_argument('folder', help='the data set folder, with train/ and validation/ in it')
    parser.add_argument('--out', help='the file to write; configs/_base_/datasets/NAME.py')
    parser.add_argument(
        '--name',
        help='what every name in the file begins with; by default the '
        'name of --out or of the folder',
    )
    for split in SPLIT_ORDER:
        parser.add_argument(
            f'--{split}-ann',
            metavar='JSON',
            help=f'annotation file of the {split} split, relative to the folder',
        )
    parser.add_argument(
        '--skip-test',
        action='store_true',
        help='leave the test split out; validation stands for it',
    )
    parser.add_argument(
        '--keep-unused', action='store_true', help='keep the parent category of Roboflow as a class'
    )
    parser.add_argument(
        '--fix',
        action='store_true',
        help='write a corrected copy beside each annotation file that needs it, and use the copy',
    )
    parser.add_argument(
        '--fix-ignored',
        action='store_true',
        help='like --fix, and in the copies boxes marked iscrowd or ignore, which '
        'are never trained on, become single objects like the others',
    )
    add_force(parser)
    parser.add_argument(
        '--max-shown', type=int, default=10, help='problems of one kind spelled out per file'
    )
    return parser.parse_args(arguments)


def show_tables(console: Console, export: Export) -> None:
    """Print boxes by class and split, and a summary."""
    splits = [export.splits[name] for name in SPLIT_ORDER if name in export.splits]
    counts = Table(title='boxes by class', title_justify='left')
    counts.add_column('label', justify='right')
    counts.add_column('class')
    summary = Table(title='splits', title_justify='left')
    summary.add_column('')
    for split in splits:
        counts.add_column(split.name, justify='right')
        summary.add_column(split.name, justify='right', overflow='fold')
    for label, name in enumerate(export.classes):
        counts.add_row(str(label), escape(name), *(f'{s.class_counts[name]:,}' for s in splits))
    sizes = [split.box_sizes for split in splits]
    summary.add_row(
        'annotations', *(escape(str(s.ann_file.relative_to(export.folder))) for s in splits)
    )
    summary.add_row('images', *(f'{len(s.images):,}' for s in splits))
    summary.add_row('images without boxes', *(f'{s.num_empty:,}' for s in splits))
    summary.add_row('boxes', *(f'{num_boxes(s, export.classes):,}' for s in splits))
    if any(s.left_out for s in splits):
        summary.add_row('boxes left out', *(f'{num_left_out(s):,}' for s in splits))
    for size, what in (('S', 'small, area < 32 x 32'), ('M', 'medium'), ('L', 'large, > 96 x 96')):
        summary.add_row(f'  {what}', *(f'{count[size]:,}' for count in sizes))
    if export.classes:
        console.print(counts)
    if splits:
        console.print(summary)


def apply_fixes(
    console: Console, export: Export, single_objects: bool, overwrite: bool
) -> dict[str, str]:
    """Write corrected copies; returns those to read instead, by split."""
    decided = {NOTHING_ELSE} if single_objects else set()
    if any(not kind.fixable for kind in export.problems.kinds('error') - decided):
        console.print('--fix wrote nothing: some errors below need your decision', style='red')
        return {}
    copies = {}
    for split, path, done in write_fixed(export, single_objects, overwrite):
        console.print(escape(f'wrote {path}: {"; ".join(done)}'), style='green', soft_wrap=True)
        copies[split.name] = path.relative_to(export.folder).as_posix()
    return copies


def find_mask_files(
    console: Console, export: Export, fix: bool, overwrite: bool
) -> dict[str, Path]:
    """By split a file in which every annotation has a mask; none where a split has no such file."""
    files = {s.name: s.ann_file for s in export.splits.values() if s.has_masks}
    if fix and not export.problems.has_errors:
        for name, (path, left_out) in write_mask_files(export, overwrite).items():
            console.print(
                escape(f'wrote {path}, for masks: left out {left_out} annotations without one'),
                style='green',
                soft_wrap=True,
            )
            export.problems.settle(
                NO_MASKS,
                str(export.splits[name].ann_file),
                f'good for boxes; for masks {path.name} has been written, without them',
            )
            files[name] = path
    return files if files.keys() == export.splits.keys() else {}


def show_problems(console: Console, export: Export, max_shown: int) -> None:
    """Print what is wrong with the data set, at most so many of a kind a file."""
    color = {'  error': 'red', '  warning': 'yellow', '  note': 'cyan'}
    for line in export.problems.lines(max_shown):
        console.print(escape(line), style=color.get(line.split(':')[0]), soft_wrap=True)


def show_lines(console: Console, prefix: str, out: Path, masks: bool) -> None:
    """Print the lines that bind the file to a stock model."""
    console.print(
        f'\nA config of a model that predicts {"masks" if masks else "boxes"} begins '
        'with, for instance:',
        style='green',
    )
    for line in lines_to_paste(prefix, out, masks):
        console.print(escape(line), soft_wrap=True, highlight=False)


def main(arguments: list[str]) -> int:
    """Run the subcommand."""
    args = parse_args(arguments)
    console = Console()
    folder = Path(args.folder)
    ann_files = {split: getattr(args, f'{split}_ann') for split in SPLIT_ORDER}
    splits = SPLIT_ORDER[:2] if args.skip_test else SPLIT_ORDER
    with console.status(f'reading {escape(str(folder))} and its images'):
        export = read_export(folder, ann_files, splits, args.keep_unused)
    fix = args.fix or args.fix_ignored
    try:
        if fix:
            copies = apply_fixes(console, export, args.fix_ignored, args.force)
            if copies:
                export = read_export(folder, {**ann_files, **copies}, splits, args.keep_unused)
        mask_files = find_mask_files(console, export, fix, args.force)
    except WriteError as error:
        links = f'cp -rs {folder.resolve()} NEW && chmod -R u+w NEW'
        console.print(
            escape(
                f'{error}; where --fix cannot write beside the annotations, make a '
                f'folder of links and use that: {links}'
            ),
            style='red',
            soft_wrap=True,
        )
        return 1
    show_tables(console, export)
    show_problems(console, export, args.max_shown)
    if export.problems.has_errors:
        count = export.problems.count('error')
        console.print(f'{count} error{"s" * (count > 1)}: no config written', style='red')
        return 1
    prefix = variable_prefix(
        args.name or (Path(args.out).stem if args.out else folder.resolve().name)
    )
    out = Path(args.out or f'configs/_base_/datasets/{prefix}.py')
    given = [word for word in arguments if word != '--force']
    text = render(
        export,
        prefix,
        f'{folder.as_posix()}/',
        shlex.join(['mmadapt', 'dataset', *given]),
        mask_files,
    )
    try:
        if would_change(out, text) and not args.force:
            again = shlex.join(['mmadapt', 'dataset', *given, '--force'])
            console.print(
                escape(
                    f'{out} exists and differs: {again} overwrites it, --out names another file'
                ),
                style='red',
                soft_wrap=True,
            )
            return 1
        refuse_read_only(out)
        write_atomically(out, lambda part: Path(part).write_text(text, encoding='utf-8'))
    except WriteError as error:
        console.print(
            escape(f'{error}; nothing was changed there: --out names a file elsewhere'),
            style='red',
            soft_wrap=True,
        )
        return 1
    console.print(
        escape(
            f'wrote {out}: {len(export.classes)} classes; every name in it begins with {prefix}_'
        ),
        style='green',
        soft_wrap=True,
    )
    show_lines(console, prefix, out, masks=False)
    if mask_files:
        show_lines(console, prefix, out, masks=True)
    return 0
