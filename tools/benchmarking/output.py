"""The tables: on the terminal, as Markdown and as JSON."""

import importlib.metadata
import json
import os
import platform
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from torch.utils import collect_env

_PACKAGES = ('torch', 'mmcv', 'mmengine', 'mmdet', 'mmpretrain', 'peft', 'mmadapt')


@dataclass(frozen=True)
class Column:
    """A column of the tables.

    Args:
        key (str): The key in the JSON file, in bytes and seconds.
        title (str): Its head.
        text (callable): Makes text of a value.
    """

    key: str
    title: str
    text: Callable[[object], str]


def milliseconds(value: float) -> str:
    """Return seconds as text, in ms."""
    return f'{value * 1e3:.4g}'


def mib(value: int) -> str:
    """Return bytes as text, in MiB."""
    return f'{value / 2**20:.4g}'


COLUMNS = (
    Column('title', 'row', str),
    Column('step_s', 'step ms', milliseconds),
    Column('ratio', 'x full', '{:.2f}'.format),
    Column('forward_s', 'forward ms', milliseconds),
    Column('backward_s', 'backward ms', milliseconds),
    Column('optimizer_s', 'optimiser ms', milliseconds),
    Column('saved_bytes', 'saved for backward MiB', mib),
    Column('saved_ratio', 'x full', '{:.2f}'.format),
    Column('peak_bytes', 'peak MiB', mib),
    Column('optimizer_bytes', 'optimiser MiB', mib),
    Column('trainable_percent', 'trainable %', '{:.2f}'.format),
    Column('adapter_bytes', 'file MiB', mib),
    Column('inference_ratio', 'merged inference x base', '{:.2f}'.format),
    Column('merge_error', 'merge error', '{:.1e}'.format),
    Column('injection_s', 'injection ms', milliseconds),
)


def about(command: str, device: torch.device, seed: int) -> dict:
    """Return what the figures depend on: device, threads and versions."""
    versions = {'python': platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    versions['torch'] = torch.__version__  # with what it was built for
    return dict(command=command, device=_device_name(device), cores=len(os.sched_getaffinity(0)),
                threads=torch.get_num_threads(), seed=seed, versions=versions)


def show(section: dict, console: Console) -> None:
    """Print the table of a section."""
    show_table(_title(section), COLUMNS, section['rows'], _notes(section), console)


def show_table(title: str, columns: Sequence[Column], rows: list[dict], notes: list[str],
               console: Console, narrow: Sequence[Column] = ()) -> None:
    """Print a table and notes below it; its first column is text.

    Args:
        title (str): What is above it.
        columns (list[Column]): Its columns.
        rows (list[dict]): Its rows.
        notes (list[str]): What is below it.
        console (Console): Where it is printed.
        narrow (list[Column]): Its columns where the others have no place. Defaults to these.
    """
    table = _table(title, columns, rows)
    wide = console.options.update(width=10_000)
    if narrow and console.measure(table, options=wide).maximum > console.width:
        table = _table(title, narrow, rows)
        notes = ['A wider terminal, --out and --json have more columns.', *notes]
    console.print(table)
    for note in notes:
        console.print(escape(note), soft_wrap=True)


def _table(title: str, columns: Sequence[Column], rows: list[dict]) -> Table:
    table = Table(title=escape(title), title_justify='left')
    for number, column in enumerate(columns):
        table.add_column(column.title, justify='right' if number else 'left',
                         overflow='ellipsis' if number else 'fold')
    for row in rows:
        table.add_row(*(escape(cell) for cell in _cells(columns, row)))
    return table


def markdown_table(columns: Sequence[Column], rows: list[dict]) -> list[str]:
    """Return the lines of a table in Markdown."""
    return ['| ' + ' | '.join(column.title for column in columns) + ' |',
            '|---' + '|---:' * (len(columns) - 1) + '|',
            *('| ' + ' | '.join(_cells(columns, row)) + ' |' for row in rows)]


def write_json(report: dict, path: str) -> None:
    """Write everything, in bytes and seconds."""
    Path(path).write_text(json.dumps(report, indent=1) + '\n', encoding='utf-8')


def write_markdown(report: dict, path: str) -> None:
    """Write the tables for people."""
    versions = ', '.join(f'{name} {version}' for name, version in report['versions'].items())
    lines = [
        '# What a step costs', '',
        f'`{report["command"]}`', '',
        f'{report["device"]}, {report["cores"]} cores, {report["threads"]} threads; {versions}.',
        '' if report['complete'] else '**Interrupted: some rounds and rows are missing.**', '',
        'Random weights and pictures; medians over rounds in which every row makes one step, in '
        'turn, and of the ratios within a round. "x full": against full fine-tuning. "File": all '
        'that training changes. "Merge error": largest difference of an output, relative to its '
        'largest value.', '']
    for section in report['sections']:
        lines += [f'## {_title(section)}', '', *markdown_table(COLUMNS, section['rows']), '',
                  *(f'* {note}' for note in _notes(section)), '']
    Path(path).write_text('\n'.join(lines).rstrip() + '\n', encoding='utf-8')


def _cells(columns: Sequence[Column], row: dict) -> list[str]:
    return ['-' if row.get(c.key) is None else c.text(row[c.key]) for c in columns]


def _title(section: dict) -> str:
    return (f'{section["model"]}, {section["parameters"]:,} parameters, {section["size"]} px, '
            f'batch {section["batch"]}' + ', bfloat16 autocast' * section['amp']
            + ', backbone and neck compiled' * section['compiled']
            + f' ({section["rounds"]} rounds)')


def _notes(section: dict) -> list[str]:
    return [*(f'{row["title"]}: {"; ".join(row["notes"])}' for row in section['rows']
              if row['notes']),
            *(f'not measured: {name}: {why}' for name, why in section['left_out'].items()),
            *(f'FAILED: {name}: {why}' for name, why in section['failed'].items())]


def _device_name(device: torch.device) -> str:
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    cpu = collect_env.get_cpu_info(collect_env.run) or ''
    name = re.search(r'^Model name:\s*(.+)$', cpu, re.MULTILINE)
    return name[1] if name else platform.processor() or platform.machine()
