"""Tables of what was measured: on the terminal, as Markdown and as JSON."""

import importlib.metadata
import json
import os
import platform
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    text: Callable[[Any], str]


def milliseconds(value: float) -> str:
    """Return seconds as text, in ms."""
    return f'{value * 1e3:.4g}'


def mib(value: int) -> str:
    """Return bytes as text, in MiB."""
    return f'{value / 2**20:.4g}'


def gib(value: int) -> str:
    """Return bytes as text, in GiB."""
    return f'{value / 2**30:.2f}'


def about(command: str, device: torch.device, seed: int) -> dict:
    """Return what the figures depend on: device, threads and versions."""
    versions = {'python': platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    versions['torch'] = torch.__version__  # with what it was built for
    return dict(
        command=command,
        device=_device_name(device),
        cores=len(os.sched_getaffinity(0)),
        threads=torch.get_num_threads(),
        seed=seed,
        versions=versions,
    )


def setting_of(report: dict) -> str:
    """Return what all rows of a report of recipes have in common, for a title."""
    height, width = report['size']
    count = report['processes']
    return (
        f'{report["config"]}, {height} x {width} px, batch {report["batch"]}, '
        f'{count} process{"es" if count > 1 else ""}'
    )


def show_table(
    title: str,
    columns: Sequence[Column],
    rows: list[dict],
    notes: list[str],
    console: Console,
    narrow: Sequence[Column] = (),
) -> None:
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
        table.add_column(
            column.title,
            justify='right' if number else 'left',
            overflow='ellipsis' if number else 'fold',
        )
    for row in rows:
        table.add_row(*(escape(cell) for cell in _cells(columns, row)))
    return table


def markdown_table(columns: Sequence[Column], rows: list[dict]) -> list[str]:
    """Return the lines of a table in Markdown."""
    return [
        '| ' + ' | '.join(column.title for column in columns) + ' |',
        '|---' + '|---:' * (len(columns) - 1) + '|',
        *('| ' + ' | '.join(_cells(columns, row)) + ' |' for row in rows),
    ]


def write_page(
    report: dict, path: str, setting: str, table: Sequence[str], below: Sequence[str]
) -> None:
    """Write a report of recipes for people, in Markdown.

    Args:
        report (dict): What was measured or planned.
        path (str): The file.
        setting (str): What all rows have in common.
        table (list[str]): The lines of the table.
        below (list[str]): The lines below it.
    """
    versions = ', '.join(f'{name} {version}' for name, version in report['versions'].items())
    head = ['# What a recipe takes', f'`{report["command"]}`', f'{versions}.', f'{setting}.']
    lines = [*(line for part in head for line in (part, '')), *table, '', *below]
    Path(path).write_text('\n'.join(lines).rstrip() + '\n', encoding='utf-8')


def write_json(report: dict, path: str) -> None:
    """Write everything, in bytes and seconds."""
    Path(path).write_text(json.dumps(report, indent=1) + '\n', encoding='utf-8')


def _cells(columns: Sequence[Column], row: dict) -> list[str]:
    return ['-' if row.get(c.key) is None else c.text(row[c.key]) for c in columns]


def _device_name(device: torch.device) -> str:
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    cpu = collect_env.get_cpu_info(collect_env.run) or ''
    name = re.search(r'^Model name:\s*(.+)$', cpu, re.MULTILINE)
    return name[1] if name else platform.processor() or platform.machine()
