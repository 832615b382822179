"""What `mmadapt dataset` prints of a data set: counts, problems, and lines to paste."""

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .base_config import SPLIT_ORDER, lines_to_paste, num_boxes, num_left_out
from .coco_export import Export
from .problems import Problems


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


def show_problems(console: Console, problems: Problems, max_shown: int) -> None:
    """Print what is wrong with the data set, at most so many of a kind a file."""
    color = {'  error': 'red', '  warning': 'yellow', '  note': 'cyan'}
    for line in problems.lines(max_shown):
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
