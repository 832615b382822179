"""The table of what recipes take: on the terminal and as Markdown."""

from rich.console import Console

from ..meters.tables import Column, markdown_table, mib, setting_of, show_table, write_page

MEASURED = (
    Column('recipe', 'recipe', str),
    Column('saved_bytes', 'saved for backward MiB', mib),
    Column('saved_ratio', 'x first', '{:.2f}'.format),
    Column('peak_bytes', 'peak of a GPU MiB', mib),
    Column('iteration_s', 'iteration s', '{:.3g}'.format),
    Column('time_ratio', 'x first', '{:.2f}'.format),
    Column('parameter_bytes', 'weights MiB', mib),
    Column('gradient_bytes', 'gradients MiB', mib),
    Column('optimizer_bytes', 'optimizer MiB', mib),
    Column('trainable_percent', 'trained %', '{:.1f}'.format),
    Column('status', '', str),
)
# What a terminal of 80 columns has place for.
_NARROW = (
    'recipe',
    'saved_bytes',
    'saved_ratio',
    'peak_bytes',
    'iteration_s',
    'trainable_percent',
    'status',
)
_ABOUT = (
    'Random weights and images, one seed. Each row ran in its own processes, one row after the '
    'other and not in turn, so that times of rows are only comparable as far as nothing else was '
    'running. Time: median of the iterations after the warm-up. Bytes are those of the process '
    'that has most. Saved for backward: what autograd keeps of a forward pass beside weights.'
)


def show_measured(report: dict, console: Console) -> None:
    """Print what was measured."""
    rows = _measured_rows(report)
    columns = _filled(rows)
    show_table(
        setting_of(report),
        columns,
        rows,
        _notes(report),
        console,
        [column for column in columns if column.key in _NARROW],
    )


def write_measured(report: dict, path: str) -> None:
    """Write what was measured for people."""
    rows = _measured_rows(report)
    write_page(
        report,
        path,
        f'{report["device"]}, {report["cores"]} cores. {setting_of(report)}',
        markdown_table(_filled(rows), rows),
        [_ABOUT, '', *(f'* {note}' for note in _notes(report))],
    )


def _measured_rows(report: dict) -> list[dict]:
    """Return the rows with what follows from their figures."""
    first: dict = next((row for row in report['rows'] if not row['status']), {})
    rows = []
    for row in report['rows']:
        row = dict(row)
        if not row['status']:
            row.update(
                saved_ratio=row['saved_bytes'] / first['saved_bytes'],
                time_ratio=row['iteration_s'] / first['iteration_s'],
                trainable_percent=100 * row['trainable'] / row['parameters'],
            )
        rows.append(row)
    return rows


def _filled(rows: list[dict]) -> list[Column]:
    """Return the columns in which there is something: no peaks of a GPU without one."""
    return [
        column for column in MEASURED if any(row.get(column.key) not in (None, '') for row in rows)
    ]


def _notes(report: dict) -> list[str]:
    notes = [
        f'{row["recipe"]}: {row["status"]}: {row["reason"]}'
        for row in report['rows']
        if row['status']
    ]
    notes += [
        f'{row["recipe"]}: its loss is not a finite number'
        for row in report['rows']
        if not row['status'] and not row['loss_is_finite']
    ]
    if not report['complete']:
        notes.append('interrupted: rows are missing')
    if report['device_type'] == 'cpu':
        notes.append('peaks of a GPU are not measured on a CPU')
    return notes
