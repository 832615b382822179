"""The three ways of adapting the base, side by side."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table


@dataclass
class Row:
    """One way of adapting the base.

    Args:
        name (str): what it is called in the table.
        trainable (int): parameters that train.
        total (int): parameters in all while training.
        ap50 (float): COCO AP at IoU 0.5 on the validation split, after the last iteration.
        ap (float): COCO AP over IoU 0.5 to 0.95 there.
        seconds (float): wall time of the training, its start and validation included.
        size (int): bytes of the files that hold what was learned.
        lr (float): the peak learning rate.
    """

    name: str
    trainable: int
    total: int
    ap50: float
    ap: float
    seconds: float
    size: int
    lr: float

    def cells(self) -> list[str]:
        """The row as text."""
        return [
            self.name,
            f'{self.trainable:,}',
            f'{100 * self.trainable / self.total:.1f}',
            f'{self.ap50:.3f}',
            f'{self.ap:.3f}',
            f'{self.seconds:.0f} s',
            f'{self.size / 1e6:.1f} MB',
            f'{self.lr:g}',
        ]


_COLUMNS = ['', 'trainable', '%', 'AP50', 'AP', 'wall time', 'files', 'peak lr']


def show(rows: list[Row], title: str) -> None:
    """Prints the rows as a table."""
    table = Table(*_COLUMNS, title=title, title_justify='left')
    for column in table.columns[1:]:
        column.justify = 'right'
    for row in rows:
        table.add_row(*row.cells())
    Console(width=None if Console().is_terminal else 110).print(table)


def write(rows: list[Row], folder: Path, facts: dict, notes: list[str]) -> None:
    """Writes `summary.json` and `summary.md`.

    Args:
        rows (list[Row]): the table.
        folder (Path): where.
        facts (dict): whatever else belongs into the JSON file.
        notes (list[str]): sentences under the table in the Markdown file.
    """
    content = dict(rows=[asdict(row) for row in rows], **facts)
    (folder / 'summary.json').write_text(json.dumps(content, indent=1))
    lines = [
        '# Face demo',
        '',
        '| ' + ' | '.join(_COLUMNS) + ' |',
        '|---' + '|---:' * (len(_COLUMNS) - 1) + '|',
    ]
    lines += ['| ' + ' | '.join(row.cells()) + ' |' for row in rows]
    lines += ['', *(f'{note}\n' for note in notes), '![validation images](contact_sheet.jpg)', '']
    (folder / 'summary.md').write_text('\n'.join(lines))
