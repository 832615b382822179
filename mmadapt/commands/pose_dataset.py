"""What `mmadapt dataset` does with COCO files whose objects have keypoints."""

import argparse
import shlex
from collections import defaultdict
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..datasets.annotation_head import has_key
from ..datasets.base_config import SPLIT_ORDER
from ..datasets.coco_checks import read_json
from ..datasets.keypoint_checks import OTHER_CATEGORY, number_of_points
from ..datasets.layout import find_annotations
from ..datasets.points import COCO_SIGMAS, Points, coco_name
from ..datasets.pose_config import point_rows, pose_lines_to_paste, render_poses
from ..datasets.pose_export import PoseExport, Said, read_pose_export
from ..datasets.pose_fix import write_fixed_poses
from ..datasets.problems import Problems
from ..datasets.sheets import sheet_path
from ..datasets.show import box_sheet
from ..datasets.tables import show_problems
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

_OF_POSES = ('keypoints', 'flip_pairs', 'sigmas')
_OF_BOXES = ('keep_unused', 'fix_ignored')


def add_pose_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is asked of poses only, and whether they are meant."""
    parser.add_argument(
        '--task',
        choices=('det', 'pose'),
        help='COCO files: whether boxes or poses are meant; by default poses where annotations '
        'have keypoints',
    )
    parser.add_argument(
        '--keypoints',
        metavar='A,B,C',
        help='poses: the names of the points in the order of the file; by default those in it',
    )
    parser.add_argument(
        '--flip-pairs',
        metavar='A:B,C:D',
        help='poses: which points change places in a mirrored image, or none; by default by left '
        'and right in their names',
    )
    parser.add_argument(
        '--sigmas',
        metavar='0.025,...',
        help='poses: how exactly points can be placed, one number or one a point; by default '
        "COCO's for points that COCO has, by name, 0.05 for others",
    )


def choose_task(args: argparse.Namespace, console: Console, converted: bool) -> str:
    """Return 'pose' or 'det', and say which where a data set has both.

    Args:
        args (argparse.Namespace): What was typed.
        console (Console): Where it is said.
        converted (bool): Whether the COCO files were written from labels in another format.

    Raises:
        UserError: An option was typed that has no use for what the data set is read as.
    """
    if converted and args.task == 'pose':
        raise UserError(
            f'--task pose: of the labels in {args.folder} boxes and masks are read, not points; '
            'export them in COCO format'
        )
    has_points = not converted and _has_keypoints(args)
    task = args.task or ('pose' if has_points else 'det')
    other = dict(det='pose', pose='det')[task]
    for name in _OF_POSES if task == 'det' else _OF_BOXES:
        if getattr(args, name):
            what = dict(det='boxes', pose='poses')[task]
            raise UserError(
                f'--{name.replace("_", "-")} means nothing for {what}, which is what '
                f'{args.folder} is read for: leave it out'
                + f', or give --task {other}'
                * (has_points or bool(args.task))
            )
    if has_points:
        what = dict(det='boxes of objects with keypoints', pose='objects with keypoints')[task]
        also = shlex.join(['mmadapt', 'dataset', args.folder, '--task', other])
        meant = dict(det='boxes', pose='poses')
        say(console, f'{what}, read as {meant[task]}; as {meant[other]}: {also}')
    return task


def _has_keypoints(args: argparse.Namespace) -> bool:
    """Return whether an annotation has points, in the training split or, without it, another."""
    nowhere = Problems()
    chosen = {split: getattr(args, f'{split}_ann') for split in SPLIT_ORDER}
    files = find_annotations(Path(args.folder), chosen, SPLIT_ORDER, nowhere)
    first = next((files[split] for split in SPLIT_ORDER if split in files), None)
    # Of boxes alone no file is parsed once more.
    data = None
    if first is not None and has_key(first, 'keypoints'):
        data = read_json(first, '', nowhere)
    annotations = (data or {}).get('annotations', ())
    return bool(number_of_points([a for a in annotations if isinstance(a, dict)]))


def write_pose_config(args: argparse.Namespace, arguments: list[str], console: Console) -> int:
    """Check a data set of poses and write its config.

    Args:
        args (argparse.Namespace): What was typed.
        arguments (list[str]): The same as words.
        console (Console): Where it is said.

    Returns:
        int: The exit code.
    """
    folder, prefix = Path(args.folder), prefix_of(args)
    sheet = sheet_path(args.show, prefix)
    splits = SPLIT_ORDER[:2] if args.skip_test else SPLIT_ORDER
    ann_files = {split: getattr(args, f'{split}_ann') for split in SPLIT_ORDER}
    names = tuple(name.strip() for name in (args.keypoints or '').split(',') if name.strip())
    said = Said(names, args.flip_pairs, args.sigmas)

    def read() -> PoseExport:
        with console.status(f'reading {escape(str(folder))} and its images'):
            return read_pose_export(folder, ann_files, splits, said)

    export = read()
    if args.fix:
        try:
            copies = _fix(console, export, args.force)
        except WriteError as error:
            say_read_only(console, error, folder)
            return 1
        if copies:
            ann_files |= copies
            export = read()
    points = export.points
    if points is not None:
        _show_points(console, export)
    show_problems(console, export.problems, args.max_shown)
    if args.show is not None:
        draw_images(console, box_sheet(export, points), folder, sheet, args.force)
    if export.problems.has_errors or points is None:
        return count_errors(console, export.problems)
    out = Path(args.out or f'configs/_base_/datasets/{prefix}.py')
    text = render_poses(
        export, points, prefix, f'{folder.as_posix()}/', typed(arguments, args.show)
    )
    if not write_config(console, out, text, arguments, args.force):
        return 1
    say(
        console,
        f'wrote {out}: {len(points.names)} points; every name in it but dataset_info begins with '
        f'{prefix}_',
    )
    _show_lines(console, export, prefix, out)
    return 0


def _fix(console: Console, export: PoseExport, force: bool) -> dict[str, str]:
    """Write corrected copies; returns those to read instead, by split."""
    if export.points is None or any(not k.fixable for k in export.problems.kinds('error')):
        say(console, '--fix wrote nothing: some errors below need your decision', 'red')
        return {}
    copies = {}
    for split, path, done in write_fixed_poses(export, export.points, force):
        say(console, f'wrote {path}: {"; ".join(done)}')
        copies[split.name] = path.relative_to(export.folder).as_posix()
    return copies


def _show_points(console: Console, export: PoseExport) -> None:
    """Print counts, and what was taken for granted of the points."""
    points = export.points
    assert points is not None
    head, *rows = point_rows(export, points)
    table = Table(title='labeled points', title_justify='left')
    table.add_column('index', justify='right')
    table.add_column(head[0])
    for name in head[1:]:
        table.add_column(name, justify='right')
    for index, row in enumerate(rows):
        table.add_row(str(index) if index < len(points.names) else '', *map(escape, row))
    console.print(table)
    pairs = ', '.join(f'{one}:{other}' for one, other in points.pairs) or 'none'
    say(console, f'change places in mirrored images: {pairs}; --flip-pairs says otherwise', 'cyan')
    lines = ', '.join(f'{points.names[a]}-{points.names[b]}' for a, b in points.skeleton)
    say(console, f'lines: {lines or "none"}', 'cyan')
    say(console, f'sigmas, which AP depends on: {_whose(points)}; --sigmas gives others', 'cyan')


def _whose(points: Points) -> str:
    """Return whose sigmas these are: COCO's own by the names of the points, or numbers."""
    known: list[str] = []
    others: dict[float, list[str]] = defaultdict(list)
    for name, sigma in zip(points.names, points.sigmas, strict=True):
        same = sigma == COCO_SIGMAS.get(coco_name(name))
        (known if same else others[sigma]).append(name)
    which = ', '.join(known) if others else 'all points'
    parts = [f"COCO's own for {which}"] * bool(known)
    return '; '.join([*parts, *(f'{s:g} for {", ".join(names)}' for s, names in others.items())])


def _show_lines(console: Console, export: PoseExport, prefix: str, out: Path) -> None:
    """Print the lines that bind the file to stock models."""
    for in_boxes in (True, False):
        what = 'looks into given boxes' if in_boxes else 'finds the objects itself'
        if not in_boxes and OTHER_CATEGORY in export.problems.kinds():
            say(console, f'\nFor a model that {what}, RTMO, --fix is needed first.')
            continue
        say(console, f'\nA config of a model that {what} begins with, for instance:')
        for line in pose_lines_to_paste(prefix, out, in_boxes):
            console.print(escape(line), soft_wrap=True, highlight=False)
