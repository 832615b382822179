"""Files that are either there, whole, or not there at all."""

import ctypes
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from ..errors import UserError
from .writing import said_of

_PathLike = str | Path
# Of Linux's renameat2, which Python has no name for.
_HERE, _EXCHANGE = -100, 2


def write_atomically(path: _PathLike, write: Callable[[str], object]) -> None:
    """Write a file beside its place and move it there when it is complete and on the disk.

    Args:
        path (str or Path): Where the file is to be. Its folder is made if need be.
        write (Callable[[str], object]): Writes the file to the path it is given.

    Raises:
        WriteError: It cannot be written; an older file there is whole.
    """
    path = Path(path)
    with said_of(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # The name begins with a dot and has no `.pth`: nobody takes a half-written file for a
        # checkpoint.
        descriptor, temporary = tempfile.mkstemp(
            prefix=f'.{path.name}.', suffix='.part', dir=path.parent
        )
        os.close(descriptor)
        try:
            write(temporary)
            _flush(temporary)
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    _flush(path.parent)


def replace_folder(folder: _PathLike, write: Callable[[Path], None]) -> None:
    """Write a folder beside its place and move it there when it is complete.

    Args:
        folder (str or Path): Where the folder is to be; an older one there is replaced. A symbolic
            link stays: the folder that it leads to is replaced.
        write (Callable[[Path], None]): Fills the empty folder it is given.

    Raises:
        UserError: ``folder`` is a symbolic link that leads nowhere but to itself.
        WriteError: It cannot be written; an older folder there is whole.
    """
    folder = Path(folder)
    if folder.is_symlink():
        place = Path(os.path.realpath(folder))
        if place.is_symlink():
            raise UserError(f'{folder} is a symbolic link that leads to itself; remove it')
        folder = place
    with said_of(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f'.{folder.name}.', dir=folder.parent))
        try:
            write(temporary)
            for file in temporary.iterdir():
                os.chmod(file, 0o666 & ~_umask())
                _flush(file)
            os.chmod(temporary, 0o777 & ~_umask())
            if not folder.exists():
                os.replace(temporary, folder)
            elif _exchange(temporary, folder):
                shutil.rmtree(temporary, ignore_errors=True)  # the older one
            else:
                _replace_in_two(temporary, folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders change their names at once, where the system and its files can do so."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), 'renameat2', None)
    return (
        rename is not None
        and rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0
    )


def _replace_in_two(new: Path, folder: Path) -> None:
    old = Path(tempfile.mkdtemp(prefix=f'.{folder.name}.old.', dir=folder.parent))
    os.replace(folder, old)
    try:
        os.replace(new, folder)
    except BaseException:
        os.replace(old, folder)
        raise
    shutil.rmtree(old)


class AtomicLocalBackend(LocalBackend):
    """MMEngine's local storage, writing atomically.

    ``Runner.save_checkpoint`` writes in place: a process killed meanwhile leaves half a checkpoint,
    and MMEngine writes the latest one again whenever validation finds a new best.
    """

    def put(self, obj: bytes, filepath: _PathLike) -> None:
        """Write bytes to a file."""
        write_atomically(filepath, lambda path: Path(path).write_bytes(obj))

    def put_text(self, obj: str, filepath: _PathLike, encoding: str = 'utf-8') -> None:
        """Write text to a file."""
        self.put(obj.encode(encoding), filepath)


def write_checkpoints_atomically() -> None:
    """Make :class:`AtomicLocalBackend` MMEngine's local storage in this process."""
    register_backend('local', AtomicLocalBackend, force=True, prefixes='')


def _flush(path: _PathLike) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
