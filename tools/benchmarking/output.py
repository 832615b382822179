"""The tables: on the terminal, as Markdown and as JSON."""

from pathlib import Path

from rich.console import Console
from rich.markup import escape  # noqa: F401

from mmadapt.meters.tables import Column, markdown_table, mib, milliseconds, show_table

COLUMNS = (
    Column('title', 'row', str),
    Column('step_s', 'step ms', milliseconds),
    Column('ratio', 'x full', '{:.2f}'.format),
    Column('processor_ratio', 'x full, processor', '{:.2f}'.format),
    Column('forward_s', 'forward ms', milliseconds),
    Column('backward_s', 'backward ms', milliseconds),
    Column('optimizer_s', 'optimizer ms', milliseconds),
    Column('saved_bytes', 'saved for backward MiB', mib),
    Column('saved_ratio', 'x full', '{:.2f}'.format),
    Column('peak_bytes', 'peak MiB', mib),
    Column('peak_ratio', 'x full', '{:.2f}'.format),
    Column('optimizer_bytes', 'optimizer MiB', mib),
    Column('trainable_percent', 'trainable %', '{:.2f}'.format),
    Column('adapter_bytes', 'file MiB', mib),
    Column('inference_ratio', 'merged inference x base', '{:.2f}'.format),
    Column('merge_error', 'merge error', '{:.1e}'.format),
    Column('injection_s', 'injection ms', milliseconds),
)


def show(section: dict, console: Console) -> None:
    """Print the table of a section."""
    show_table(_title(section), COLUMNS, section['rows'], _notes(section), console)


def write_markdown(report: dict, path: str) -> None:
    """Write the tables for people."""
    versions = ', '.join(f'{name} {version}' for name, version in report['versions'].items())
    lines = [
        '# What a step costs',
        '',
        f'`{report["command"]}`',
        '',
        f'{report["device"]}, {report["cores"]} cores, {report["threads"]} threads; {versions}.',
        '' if report['complete'] else '**Interrupted: some rounds and rows are missing.**',
        '',
        'Random weights and images; medians over rounds in which every row makes one step, in '
        'turn, and of the ratios within a round. "x full": against full fine-tuning; "processor": '
        'of the seconds that all cores worked. "Peak": weights, optimizer and all that is '
        'allocated in a step. "File": all that training changes. "Merge error": largest '
        'difference of an output, relative to its largest value.',
        '',
    ]
    for section in report['sections']:
        lines += [
            f'## {_title(section)}',
            '',
            *markdown_table(COLUMNS, section['rows']),
            '',
            *(f'* {note}' for note in _notes(section)),
            '',
        ]
    Path(path).write_text('\n'.join(lines).rstrip() + '\n', encoding='utf-8')


def _title(section: dict) -> str:
    return (
        f'{section["model"]}, {section["parameters"]:,} parameters, {section["size"]} px, '
        f'batch {section["batch"]}'
        + ', bfloat16 autocast' * section['amp']
        + ', backbone and neck compiled' * section['compiled']
        + f' ({section["rounds"]} rounds)'
    )


def _notes(section: dict) -> list[str]:
    return [
        *(f'{row["title"]}: {"; ".join(row["notes"])}' for row in section['rows'] if row['notes']),
        *(f'not measured: {name}: {why}' for name, why in section['left_out'].items()),
        *(f'FAILED: {name}: {why}' for name, why in section['failed'].items()),
    ]
