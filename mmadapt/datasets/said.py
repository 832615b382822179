"""What was found wrong with a data set, said of a config that is about to use it."""

from collections.abc import Collection

from ..errors import UserError
from ..logs import warn
from .problems import Kind, Problems


def raise_or_warn(problems: Problems, place: str, only: Collection[Kind] | None = None) -> None:
    """Raise what forbids using the data, and log the rest.

    Args:
        problems (Problems): What was found.
        place (str): Where in the config the data stands.
        only (Collection[Kind], optional): The kinds that matter to the config. Defaults to all.

    Raises:
        UserError: There is an error among them; a line for each kind in each file.
    """
    errors = []
    for file, kinds in problems.found.items():
        for kind, details in kinds.items():
            if only is not None and kind not in only:
                continue
            line = f'{file} ({place}): {_counted(kind, details)}; {kind.remedy}'
            if kind.severity == 'error':
                errors.append(line)
            else:
                warn(line)
    if errors:
        raise UserError('\n'.join(errors))


def _counted(kind: Kind, details: list[str]) -> str:
    count = f' ({len(details):,})' if len(details) > 1 else ''
    example = f', for instance {details[0]}' if len(details) > 1 else f': {details[0]}'
    return kind.title + count + (example if details[0] else '')
