"""The tables: on the terminal, as Markdown and as JSON."""

from pathlib import Path

from benchmarking.output import Column, markdown_table, show_table
from rich.console import Console

from .plan import CONTEXT, MARGIN


def gib(value: int) -> str:
    """Return bytes as text, in GiB."""
    return f'{value / 2**30:.2f}'


def mib(value: int) -> str:
    """Return bytes as text, in MiB."""
    return f'{value / 2**20:.4g}'


MEASURED = (
    Column('recipe', 'recipe', str),
    Column('saved_bytes', 'saved for backward MiB', mib),
    Column('saved_ratio', 'x first', '{:.2f}'.format),
    Column('peak_bytes', 'peak of a GPU MiB', mib),
    Column('iteration_s', 'iteration s', '{:.3g}'.format),
    Column('time_ratio', 'x first', '{:.2f}'.format),
    Column('parameter_bytes', 'weights MiB', mib),
    Column('gradient_bytes', 'gradients MiB', mib),
    Column('optimizer_bytes', 'optimiser MiB', mib),
    Column('trainable_percent', 'trained %', '{:.1f}'.format),
    Column('status', '', str),
)
PLANNED = (
    Column('recipe', 'recipe', str),
    Column('saved_bytes', 'saved for backward', gib),
    Column('activation_bytes', 'activations', gib),
    Column('weight_bytes', 'weights', gib),
    Column('gradient_bytes', 'gradients', gib),
    Column('optimizer_bytes', 'optimiser', gib),
    Column('exchange_bytes', 'exchange', gib),
    Column('total_bytes', 'total', gib),
    Column('margin_bytes', 'margin', gib),
    Column('fits', 'fits', lambda value: 'yes' if value else 'no'),
)
# What a terminal of 80 columns has place for.
_NARROW_MEASURED = ('recipe', 'saved_bytes', 'saved_ratio', 'peak_bytes', 'iteration_s',
                    'trainable_percent', 'status')
_NARROW_PLANNED = (*(c for c in PLANNED if c.key in ('recipe', 'activation_bytes')),
                   Column('state_bytes', 'states', gib),
                   *(c for c in PLANNED if c.key in ('total_bytes', 'margin_bytes', 'fits')))
_ABOUT_MEASURED = (
    'Random weights and pictures, one seed. Each row ran in its own processes, one row after the '
    'other and not in turn, so that times of rows are only comparable as far as nothing else was '
    'running. Time: median of the iterations after the warm-up. Bytes are those of the process '
    'that has most. Saved for backward: what autograd keeps of a forward pass beside weights.')
_ABOUT_PLANNED = (
    'In GiB, for one process. Activations: the most that a forward and a backward pass hold, '
    'followed on shapes, as on a GPU. Exchange: buckets of gradients, and weights that are '
    'gathered for a while. States, where there is no place for them one by one: weights, '
    'gradients, optimiser and exchange. Margin: what is to be left free, '
    f'{gib(CONTEXT)} GiB for CUDA and {MARGIN:.0%} of the activations. What cpu_offload, '
    'offload_optimizer, offload_param and memory.offload move to the CPU is counted as if it '
    'stayed.')


def show_measured(report: dict, console: Console) -> None:
    """Print what was measured."""
    rows = _measured_rows(report)
    columns = _filled(rows)
    show_table(_title(report), columns, rows, _notes(report), console,
               [column for column in columns if column.key in _NARROW_MEASURED])


def show_plan(report: dict, console: Console) -> None:
    """Print a plan."""
    title = f'{_title(report)}, on {gib(report["memory_bytes"])} GiB'
    rows = [dict(row, state_bytes=row['total_bytes'] - row['activation_bytes'])
            for row in report['rows']]
    show_table(title, PLANNED, rows, [_ABOUT_PLANNED, *_refused(report), *_advice(report)],
               console, _NARROW_PLANNED)


def write_markdown(report: dict, path: str) -> None:
    """Write what was measured, or a plan, for people."""
    versions = ', '.join(f'{name} {version}' for name, version in report['versions'].items())
    head = ['# What a recipe takes', '', f'`{report["command"]}`', '', versions + '.', '']
    if 'memory_bytes' in report:
        head += [f'{_title(report)}, on {gib(report["memory_bytes"])} GiB.', '']
        body = [*markdown_table(PLANNED, report['rows']), '', _ABOUT_PLANNED, '',
                *(line for note in _refused(report) for line in (f'* {note}', '')),
                *_advice(report, fence=True)]
    else:
        head += [f'{report["device"]}, {report["cores"]} cores. {_title(report)}.', '']
        rows = _measured_rows(report)
        body = [*markdown_table(_filled(rows), rows), '', _ABOUT_MEASURED, '',
                *(f'* {note}' for note in _notes(report))]
    Path(path).write_text('\n'.join(head + body).rstrip() + '\n', encoding='utf-8')


def _title(report: dict) -> str:
    height, width = report['size']
    count = report['processes']
    return (f'{report["config"]}, {height} x {width} px, batch {report["batch"]}, '
            f'{count} process{"es" if count > 1 else ""}')


def _measured_rows(report: dict) -> list[dict]:
    """Return the rows with what follows from their figures."""
    first = next((row for row in report['rows'] if not row['status']), None)
    rows = []
    for row in report['rows']:
        row = dict(row)
        if not row['status']:
            row.update(saved_ratio=row['saved_bytes'] / first['saved_bytes'],
                       time_ratio=row['iteration_s'] / first['iteration_s'],
                       trainable_percent=100 * row['trainable'] / row['parameters'])
        rows.append(row)
    return rows


def _filled(rows: list[dict]) -> list[Column]:
    """Return the columns in which there is something: no peaks of a GPU without one."""
    return [column for column in MEASURED
            if any(row.get(column.key) not in (None, '') for row in rows)]


def _notes(report: dict) -> list[str]:
    notes = [f'{row["recipe"]}: {row["status"]}: {row["reason"]}' for row in report['rows']
             if row['status']]
    notes += [f'{row["recipe"]}: its loss is not a finite number' for row in report['rows']
              if not row['status'] and not row['loss_is_finite']]
    if not report['complete']:
        notes.append('interrupted: rows are missing')
    if report['device_type'] == 'cpu':
        notes.append('peaks of a GPU are not measured on a CPU')
    return notes


def _refused(report: dict) -> list[str]:
    reasons = {}
    for row in report['rows']:
        if row['reason']:
            reasons.setdefault(row['reason'], []).append(row['recipe'])
    return [f'{", ".join(names)}: refused, whatever fits: {reason}'
            for reason, names in reasons.items()]


def _advice(report: dict, fence: bool = False) -> list[str]:
    best = report['recommended']
    if best is None:
        return ['No recipe fits: smaller pictures, a smaller batch, or more processes with fsdp2.']
    run = ['```bash', best['command'], '```'] if fence else [best['command']]
    first = f'Fits with fewest changes: {best["recipe"]}. '
    if not best['lines']:
        return [first + 'With this config as it is:', *run]
    config = ['```python', best['lines'], '```'] if fence else [best['lines']]
    return [first + 'In a config MY_CONFIG.py that inherits this one:', *config, 'Then:', *run]
