"""A plan's table: on the terminal and as Markdown."""

from rich.console import Console

from ..meters.tables import Column, gib, markdown_table, setting_of, show_table, write_page
from .demand import CONTEXT, MARGIN

PLANNED = (
    Column('recipe', 'recipe', str),
    Column('saved_bytes', 'saved for backward', gib),
    Column('activation_bytes', 'activations', gib),
    Column('weight_bytes', 'weights', gib),
    Column('gradient_bytes', 'gradients', gib),
    Column('optimizer_bytes', 'optimizer', gib),
    Column('exchange_bytes', 'exchange', gib),
    Column('total_bytes', 'total', gib),
    Column('margin_bytes', 'margin', gib),
    Column('fits', 'fits', lambda value: 'yes' if value else 'no'),
)
# What a terminal of 80 columns has place for.
_NARROW = (
    *(c for c in PLANNED if c.key in ('recipe', 'activation_bytes')),
    Column('state_bytes', 'states', gib),
    *(c for c in PLANNED if c.key in ('total_bytes', 'margin_bytes', 'fits')),
)
_ABOUT = (
    'In GiB, for one process. Activations: the most that a forward and a backward pass hold, '
    'followed on shapes, as on a GPU. Exchange: buckets of gradients, and weights that are '
    'gathered for a while. States, where there is no place for them one by one: weights, '
    'gradients, optimizer and exchange. Margin: what is to be left free, '
    f'{gib(CONTEXT)} GiB for CUDA and {MARGIN:.0%} of the activations. What cpu_offload, '
    'offload_optimizer, offload_param and memory.offload move to the CPU is counted as if it '
    'stayed.'
)


def show_plan(report: dict, console: Console) -> None:
    """Print a plan."""
    title = f'{setting_of(report)}, on {gib(report["memory_bytes"])} GiB'
    rows = [
        dict(row, state_bytes=row['total_bytes'] - row['activation_bytes'])
        for row in report['rows']
    ]
    show_table(
        title, PLANNED, rows, [_ABOUT, *_refused(report), *_advice(report)], console, _NARROW
    )


def write_plan(report: dict, path: str) -> None:
    """Write a plan for people."""
    below = [
        _ABOUT,
        '',
        *(line for note in _refused(report) for line in (f'* {note}', '')),
        *_advice(report, fence=True),
    ]
    write_page(
        report,
        path,
        f'{setting_of(report)}, on {gib(report["memory_bytes"])} GiB',
        markdown_table(PLANNED, report['rows']),
        below,
    )


def _refused(report: dict) -> list[str]:
    reasons: dict[str, list[str]] = {}
    for row in report['rows']:
        if row['reason']:
            reasons.setdefault(row['reason'], []).append(row['recipe'])
    return [
        f'{", ".join(names)}: refused, whatever fits: {reason}' for reason, names in reasons.items()
    ]


def _advice(report: dict, fence: bool = False) -> list[str]:
    best = report['recommended']
    if best is None:
        return ['No recipe fits: smaller images, a smaller batch, or more processes with fsdp2.']
    run = ['```bash', best['command'], '```'] if fence else [best['command']]
    first = f'Fits with fewest changes: {best["recipe"]}. '
    if not best['lines']:
        return [first + 'With this config as it is:', *run]
    config = ['```python', best['lines'], '```'] if fence else [best['lines']]
    return [first + 'In a config MY_CONFIG.py that inherits this one:', *config, 'Then:', *run]
