"""Writing a file, and what is said when that cannot be done, whoever writes it."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

import torch
from safetensors import SafetensorError

from ..errors import UserError, WriteError

_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def said_of(path: str | Path) -> Iterator[None]:
    """Turn what keeps a file or folder from being written into one line that names it.

    Args:
        path (str or Path): What is being written.

    Raises:
        WriteError: It cannot be written.
        UserError: That of another cause which has been said already.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        cause = _cause(error)
        if cause is None:
            raise
        if not isinstance(cause, OSError):  # whoever stops the process
            raise cause from None
        raise WriteError(f'{path} cannot be written: {_reason(cause, path)}') from error


def save_torch(content, path: str | Path) -> None:
    """Write a file of ``torch.save``, with the system's own error where that cannot be done."""
    # torch's writer of files reports a full disk as an unexpected position in its archive.
    with open(path, 'wb') as file:
        torch.save(content, file)


def full_disk(error: OSError, folder: str | None = None) -> WriteError | None:
    """Return one line for an error that says that there is no space left; None for any other.

    Args:
        error (OSError): What the system has said, maybe without the name of a file.
        folder (str, optional): Where the file is then, if that is known.
    """
    if error.errno not in _FULL:
        return None
    place = error.filename or folder
    said = error.strerror if place is None else _reason(error, place)
    what = error.filename or ('a file' if folder is None else f'a file in {folder}')
    return WriteError(f'{what} cannot be written: {said}')


def _reason(error: OSError, path: str | Path) -> str:
    said = error.strerror or str(error)
    if isinstance(error, FileExistsError):
        return f'{error.filename} is no folder'
    if error.errno not in _FULL:
        return said
    free = shutil.disk_usage(_existing(Path(path))).free
    return f'{said} ({free / 1e6:.1f} MB are free)'


def check_can_write(path: str | Path) -> None:
    """Find out, before anything is computed for a file, whether one can be written there.

    Args:
        path (str or Path): The file. Neither it nor its folder is made.

    Raises:
        WriteError: It cannot be written.
    """
    with said_of(path), TemporaryFile(dir=_existing(Path(path).absolute().parent)):
        pass


def _existing(path: Path) -> Path:
    """Return the nearest folder above a path that is there, or the path itself."""
    return path if os.path.lexists(path) or path == path.parent else _existing(path.parent)


def _cause(error: BaseException | None) -> BaseException | None:
    """Find what the system said, or what interrupted the writer, behind the error of a library."""
    if error is None or isinstance(error, OSError) or not isinstance(error, Exception):
        return error
    number = re.search(r'\(os error (\d+)\)', str(error))
    if isinstance(error, SafetensorError) and number:
        return OSError(int(number[1]), os.strerror(int(number[1])))
    return _cause(error.__context__) if isinstance(error, RuntimeError) else None
