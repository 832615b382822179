"""What stands already where a file is to be written."""

from pathlib import Path

from ..errors import UserError


def would_change(file: str | Path, text: str | None = None) -> bool:
    """Return whether to write a file changes one that is there.

    Args:
        file (str or Path): Where is to be written.
        text (str, optional): What is to be written, where that is known. Defaults to None.
    """
    path = Path(file)
    return path.exists() and (
        text is None or not path.is_file() or path.read_bytes() != text.encode()
    )


def refuse_existing(force: bool, *files: str | Path | None, text: str | None = None) -> None:
    """Refuse to overwrite a file.

    Args:
        force (bool): Whether the user has said that it may be.
        files (str or Path): Where is to be written; None stands for nothing.
        text (str, optional): What is to be written, where that is known: a file that says it is
            not changed. Defaults to None.

    Raises:
        UserError: A file is there, or a folder.
    """
    for file in files:
        if file is not None and Path(file).is_dir():
            raise UserError(f'{file} is a folder: name the file to write')
    there = [str(file) for file in files if file is not None and would_change(file, text)]
    if there and not force:
        differs = '' if text is None else ' and differs'
        raise UserError(
            f'{", ".join(there)} {"are" if len(there) > 1 else "is"} there{differs}; '
            f'--force overwrites {"them" if len(there) > 1 else "it"}'
        )
