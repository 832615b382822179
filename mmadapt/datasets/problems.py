"""What was found wrong with a data set, collected so that everything can be said at once."""

from collections import defaultdict
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Kind:
    """One kind of problem.

    Args:
        severity (str): 'error' (the data set cannot be used as it is), 'warning' or 'note'.
        title (str): What is wrong, as a noun phrase that a count can follow.
        remedy (str): What the user can do about it.
        fixable (bool): Whether ``mmadapt dataset --fix`` mends it.
    """

    severity: str
    title: str
    remedy: str = ''
    fixable: bool = False


@dataclass
class Problems:
    """Problems by file and kind, in the order in which they were met."""

    found: dict[str, dict[Kind, list[str]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )

    def add(self, kind: Kind, file: str, detail: str = '') -> None:
        """Record one problem.

        Args:
            kind (Kind): Which kind.
            file (str): The file or folder at fault, as the user would name it.
            detail (str): The place inside the file, or what was expected.
        """
        self.found[file][kind].append(detail)

    def settle(self, kind: Kind, file: str, done: str) -> None:
        """Say of a kind, where it was found in a file, what has been done instead of what can be.

        Args:
            kind (Kind): Which kind.
            file (str): The file.
            done (str): What takes the place of its remedy.
        """
        kinds = self.found.get(file, {})
        if kind in kinds:
            kinds[replace(kind, remedy=done)] = kinds.pop(kind)

    def kinds(self, severity: str | None = None) -> set[Kind]:
        """Return the kinds met, of one severity or of all."""
        met = {kind for kinds in self.found.values() for kind in kinds}
        return {kind for kind in met if severity in (None, kind.severity)}

    @property
    def has_errors(self) -> bool:
        """bool: Whether something was found that forbids using the data set."""
        return bool(self.kinds('error'))

    def count(self, severity: str) -> int:
        """Return how many problems of a severity were found, over all files."""
        return sum(
            len(details)
            for kinds in self.found.values()
            for kind, details in kinds.items()
            if kind.severity == severity
        )

    def lines(self, max_shown: int = 10) -> list[str]:
        """The problems as text, file by file, errors first.

        Args:
            max_shown (int): How many problems of one kind are spelled out per file.

        Returns:
            list[str]: Lines without trailing newline.
        """
        rank = {'error': 0, 'warning': 1, 'note': 2}
        lines = []
        for file, kinds in self.found.items():
            lines.append(file)
            for kind, details in sorted(kinds.items(), key=lambda item: rank[item[0].severity]):
                spelled = [detail for detail in details if detail]
                count = f' ({len(details)})' if len(details) > 1 else ''
                inline = f': {spelled[0]}' if len(spelled) == 1 else ''
                lines.append(f'  {kind.severity}: {kind.title}{count}{inline}')
                if len(spelled) > 1:
                    lines += [f'      {detail}' for detail in spelled[:max_shown]]
                    if len(spelled) > max_shown:
                        lines.append(f'      ... and {len(spelled) - max_shown} more')
                if kind.remedy:
                    lines.append(f'    -> {kind.remedy}')
        return lines
