"""Check a data set and write a `_base_` data set file for it.

Examples:
    mmadapt dataset data/face_det --out face_det.py
    mmadapt dataset data/face_det --show
    mmadapt dataset data/one_folder_of_images --val-fraction 0.2
    mmadapt dataset data/face_pose --flip-pairs left_eye:right_eye
    mmadapt dataset data/face_seg --classes background,skin,hair

The data set is in COCO format, of boxes or poses, or in YOLO, Pascal VOC, CVAT or LabelMe format,
of which COCO files are written first; label maps (images/SPLIT, masks/SPLIT) and one folder a class
(SPLIT/CLASS) are known too. Prints what there is of each class or point in each split and
everything that is wrong, file by file. The config is written only when no error is left; then the
exit code is 0, otherwise 1.
"""

import argparse
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from ..cli.arguments import add_force, make_parser
from ..datasets import Export, read_export
from ..datasets.base_config import SPLIT_ORDER, render
from ..datasets.coco_fix import write_fixed, write_mask_files
from ..datasets.formats import Converted, convert
from ..datasets.sheets import sheet_path
from ..datasets.show import box_sheet
from ..datasets.tables import show_lines, show_problems, show_tables
from ..datasets.use_checks import NO_MASKS, NOTHING_ELSE
from ..errors import UserError, WriteError
from .dataset_steps import (
    count_errors,
    draw_images,
    prefix_of,
    say,
    say_read_only,
    typed,
    write_config,
)
from .label_dataset import add_label_arguments, kind_of, write_label_config
from .pose_dataset import add_pose_arguments, choose_task, write_pose_config


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
    parser.add_argument(
        '--val-fraction',
        type=float,
        metavar='0.2',
        help='YOLO, Pascal VOC, CVAT, LabelMe without a validation split: the share of the '
        'training images to validate on',
    )
    parser.add_argument('--seed', type=int, help='chooses these images; 0')
    parser.add_argument(
        '--show',
        nargs='?',
        const='',
        metavar='JPG',
        help='draw training images with their boxes, masks, points, label maps or class, into '
        'work_dirs/NAME/training_images.jpg or the file given',
    )
    add_pose_arguments(parser)
    add_label_arguments(parser)
    add_force(parser)
    parser.add_argument(
        '--max-shown', type=int, default=10, help='problems of one kind spelled out per file'
    )
    return parser.parse_args(arguments)


def apply_fixes(
    console: Console, export: Export, single_objects: bool, overwrite: bool
) -> dict[str, str]:
    """Write corrected copies; returns those to read instead, by split."""
    decided = {NOTHING_ELSE} if single_objects else set()
    if any(not kind.fixable for kind in export.problems.kinds('error') - decided):
        say(console, '--fix wrote nothing: some errors below need your decision', 'red')
        return {}
    copies = {}
    for split, path, done in write_fixed(export, single_objects, overwrite):
        say(console, f'wrote {path}: {"; ".join(done)}')
        copies[split.name] = path.relative_to(export.folder).as_posix()
    return copies


def find_mask_files(
    console: Console, export: Export, fix: bool, overwrite: bool
) -> dict[str, Path]:
    """By split a file in which every annotation has a mask; none where a split has no such file."""
    files = {s.name: s.ann_file for s in export.splits.values() if s.has_masks}
    if fix and not export.problems.has_errors:
        for name, (path, left_out) in write_mask_files(export, overwrite).items():
            say(console, f'wrote {path}, for masks: left out {left_out} annotations without one')
            export.problems.settle(
                NO_MASKS,
                str(export.splits[name].ann_file),
                f'good for boxes; for masks {path.name} has been written, without them',
            )
            files[name] = path
    return files if files.keys() == export.splits.keys() else {}


def read_other_format(
    console: Console, folder: Path, args: argparse.Namespace, splits: tuple[str, ...]
) -> Converted | None:
    """Write COCO files for labels in another format, and say so; None where they are COCO's."""
    chosen = any(getattr(args, f'{split}_ann') for split in SPLIT_ORDER)
    done = None
    if not chosen:
        with console.status(f'reading the labels in {escape(str(folder))}'):
            done = convert(folder, splits, args.val_fraction, args.seed or 0, args.force)
    if args.seed is not None and args.val_fraction is None:
        raise UserError('--seed chooses the images of --val-fraction, which is not given')
    if done is None and args.val_fraction is not None:
        raise UserError(
            f'--val-fraction shards a folder of YOLO, Pascal VOC, CVAT or LabelMe labels; {folder} '
            'is read as COCO, whose splits are files of their own'
        )
    if done is not None and done.files:
        files = ', '.join(path.relative_to(folder).as_posix() for path in done.files.values())
        say(
            console,
            f'{folder} is in {done.format} format, written as COCO into {files}; '
            f'classes {done.order}: {", ".join(done.classes)}',
        )
    return done


def main(arguments: list[str]) -> int:
    """Run the subcommand."""
    args = parse_args(arguments)
    console = Console()
    folder = Path(args.folder)
    kind = kind_of(folder, args)
    if kind is not None:
        return write_label_config(kind, args, arguments, console)
    prefix = prefix_of(args)
    sheet = sheet_path(args.show, prefix)
    splits = SPLIT_ORDER[:2] if args.skip_test else SPLIT_ORDER
    ann_files = {split: getattr(args, f'{split}_ann') for split in SPLIT_ORDER}
    known = None
    fix = args.fix or args.fix_ignored
    try:
        converted = read_other_format(console, folder, args, splits)
        if converted is not None:
            known = converted.problems
            if known.has_errors:
                show_problems(console, known, args.max_shown)
                return count_errors(console, known)
            files = {s: p.relative_to(folder).as_posix() for s, p in converted.files.items()}
            ann_files |= files
    except WriteError as error:
        say_read_only(console, error, folder)
        return 1
    if choose_task(args, console, converted is not None) == 'pose':
        return write_pose_config(args, arguments, console)
    with console.status(f'reading {escape(str(folder))} and its images'):
        export = read_export(folder, ann_files, splits, args.keep_unused, known)
    try:
        if fix:
            copies = apply_fixes(console, export, args.fix_ignored, args.force)
            if copies:
                ann_files |= copies
                export = read_export(folder, ann_files, splits, args.keep_unused, known)
        mask_files = find_mask_files(console, export, fix, args.force)
    except WriteError as error:
        say_read_only(console, error, folder)
        return 1
    show_tables(console, export)
    show_problems(console, export.problems, args.max_shown)
    if args.show is not None:
        draw_images(console, box_sheet(export), folder, sheet, args.force)
    if export.problems.has_errors:
        return count_errors(console, export.problems)
    out = Path(args.out or f'configs/_base_/datasets/{prefix}.py')
    text = render(
        export,
        prefix,
        f'{folder.as_posix()}/',
        typed(arguments, args.show),
        mask_files,
    )
    if not write_config(console, out, text, arguments, args.force):
        return 1
    say(
        console,
        f'wrote {out} (classes: {len(export.classes)}); every name in it begins with {prefix}_',
    )
    show_lines(console, prefix, out, masks=False)
    if mask_files:
        show_lines(console, prefix, out, masks=True)
    return 0
