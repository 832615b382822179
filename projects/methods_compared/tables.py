"""The results as Markdown."""

from statistics import mean

from .rows import ROWS


def _spread(values: list[float]) -> str:
    if len(values) == 1:
        return f'{values[0]:.3f}'
    return f'{mean(values):.3f} ({min(values):.3f} to {max(values):.3f})'


def of_rows(rows: dict[str, dict]) -> list[str]:
    """Return the comparison.

    Args:
        rows (dict[str, dict]): What `run.compare` returns, by row.

    Returns:
        list[str]: Lines.
    """
    lines = [
        '| | seeds | AP, mean (least to most) | AP50 | CPU time of a run | trainable | '
        'saved for backward | file | rate (AP at others) |',
        '|---|---:|---:|---:|---:|---:|---:|---:|---|',
    ]
    for name, found in rows.items():
        records = found['records']
        others = ', '.join(f'{r:g}: {ap:.3f}' for r, ap in found['tried'].items())
        lines.append(
            f'| {ROWS[name].title} | {len(records)} | {_spread([r["ap"] for r in records])} | '
            f'{mean(r["ap50"] for r in records):.3f} | '
            f'{mean(r["cpu_seconds"] for r in records):.0f} s | {records[0]["trainable"]:,} | '
            f'{found["saved"] / 2**20:.0f} MiB | {records[0]["file_bytes"] / 1e6:.1f} MB | '
            f'{found["rate"]:g} ({others}) |'
        )
    return lines


def of_classes(found: list[dict]) -> list[str]:
    """Return what keeping the rows of known classes gives.

    Args:
        found (list[dict]): Records, ``keep`` and ``seed`` among them.

    Returns:
        list[str]: Lines.
    """
    classes = list(found[0]['by_class'])
    lines = [
        f'| `keep_classes` | AP | {" | ".join(classes)} |',
        '|---' + '|---:' * (1 + len(classes)) + '|',
    ]
    for keep in (True, False):
        records = [r for r in found if r['keep'] is keep]
        cells = [_spread([r['ap'] for r in records])]
        cells += [_spread([r['by_class'][name] for r in records]) for name in classes]
        lines.append(f'| `{keep}` | {" | ".join(cells)} |')
    return lines


def of_tasks(found: dict) -> list[str]:
    """Return what two tasks on one base give.

    Args:
        found (dict): What `tasks.two_tasks` returns.

    Returns:
        list[str]: Lines.
    """
    trees = found['trees']
    lines = [
        f'trees: AP {trees["ap"]:.3f}, AP50 {trees["ap50"]:.3f}',
        '',
        "| the base's own data | AP | difference |",
        '|---|---:|---:|',
    ]
    before = found['forgetting'][0]['metrics']['coco/bbox_mAP']
    for case in found['forgetting']:
        ap = case['metrics'].get('coco/bbox_mAP', 0.0)
        lines.append(f'| {case["name"]} | {ap:.3f} | {ap - before:+.3f} |')
    seen = ', '.join(f'{name}: {count}' for name, count in found['seen'].items())
    lines += [
        '',
        f'objects surer than 0.3, in images of both tasks: {seen}; a switch takes '
        f'{found["switch"] * 1e3:.1f} ms',
    ]
    return lines
