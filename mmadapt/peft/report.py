"""What an injection did, as a table and as the line that everybody greps for."""

from collections import Counter
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Column, Table
from torch import nn

ACTIONS = ('adapt', 'train', 'freeze')
# Wide enough for the longest row: a log file has no width to fit into.
WIDE = 400


@dataclass
class LayerReport:
    """What became of one module that has parameters of its own.

    Attributes:
        name (str): Its first name in the model; shared modules are listed once.
        kind (str): Its class.
        shape (tuple[int]): The shape of its weight, or of its first parameter.
        action (str): ``'adapt'``, ``'train'`` or ``'freeze'``.
        why (str): The rule that decided.
        rank (int): The rank of its adapter; 0 without one.
        extra (int): Number of parameters that the adapter adds.
        parameters (int): Number of the stock parameters.
        names (int): Under how many names it stands in the model.
    """

    name: str
    kind: str
    shape: tuple
    action: str
    why: str
    rank: int = 0
    extra: int = 0
    parameters: int = 0
    names: int = 1


@dataclass
class Report:
    """What was adapted, trained and frozen.

    Attributes:
        layers (list[LayerReport]): One entry a module that has parameters.
        trainable (int): Number of trainable parameters.
        total (int): Number of all parameters, the adapter's included.
        warnings (list[str]): What a user should know. What begins with ``WARNING:`` may be wrong.
    """

    layers: list = field(default_factory=list)
    trainable: int = 0
    total: int = 0
    warnings: list = field(default_factory=list)

    def count(self, model: nn.Module) -> None:
        """Count the parameters as they are now."""
        parameters = list(model.parameters())
        self.total = sum(p.numel() for p in parameters)
        self.trainable = sum(p.numel() for p in parameters if p.requires_grad)

    def line(self) -> str:
        """Return ``trainable params: N || all params: M || trainable%: P``."""
        percentage = 100 * self.trainable / self.total if self.total else 0.0
        return (
            f'trainable params: {self.trainable} || all params: {self.total} || '
            f'trainable%: {percentage:.2f}'
        )

    def summary(self, width: int = WIDE) -> str:
        """Return a table with one row for each part of the model, action and reason.

        Args:
            width (int): How many characters a line may have. Defaults to 400.
        """
        groups: Counter = Counter()
        parameters: Counter = Counter()
        for layer in self.layers:
            key = (layer.name.split('.')[0], layer.action, layer.why)
            groups[key] += 1
            parameters[key] += layer.parameters
        extra: Counter = Counter()
        for layer in self.layers:
            extra[layer.name.split('.')[0], layer.action, layer.why] += layer.extra
        table = Table('part', 'what', 'why', title='mmadapt')
        for title in ('layers', 'parameters', 'adapter'):
            table.add_column(title, justify='right')
        for key in sorted(groups, key=lambda k: (k[0], ACTIONS.index(k[1]), k[2])):
            table.add_row(*key, str(groups[key]), f'{parameters[key]:,}', f'{extra[key]:,}')
        return render(table, width)

    def __str__(self) -> str:
        """Return the table with one row a layer, and the line."""
        return self.text()

    def text(self, width: int = WIDE) -> str:
        """Return the table with one row a layer, and the line.

        Args:
            width (int): How many characters a row may have; one that is too long has neither kind
                nor shape nor reason. Defaults to 400.
        """
        rows = [
            (
                layer.name + (f' (x{layer.names})' if layer.names > 1 else ''),
                layer.kind,
                'x'.join(map(str, layer.shape)),
                layer.action,
                layer.why,
                str(layer.rank or ''),
                f'{layer.extra:,}',
                f'{layer.parameters:,}',
            )
            for layer in self.layers
        ]
        table = Table('layer', 'kind', 'shape', 'what', 'why', title='mmadapt')
        for title in ('rank', 'adapter', 'parameters'):
            table.add_column(title, justify='right')
        for row in rows:
            table.add_row(*row)
        text = render(table, WIDE)
        if max(map(len, text.splitlines())) > width:
            table = Table(Column('layer', overflow='fold'), Column('what', no_wrap=True))
            for title in ('rank', 'adapter', 'parameters'):
                table.add_column(title, justify='right', no_wrap=True)
            for name, _, _, action, _, *numbers in rows:
                table.add_row(name, action, *numbers)
            text = render(table, width)
        return '\n'.join([text, *self.warnings, self.line()])


def render(table: Table, width: int) -> str:
    """Return a table as text.

    Args:
        table (Table): The table.
        width (int): How many characters a line may have.
    """
    console = Console(width=width, color_system=None)
    table.expand = False
    with console.capture() as capture:
        console.print(table)
    return '\n'.join(row.rstrip() for row in capture.get().rstrip().splitlines())
