"""What tells a complete environment from a half-made or an outdated one.

`mmadapt-made` is put into `.venv` first and says whose it is; `mmadapt-stamp.json` is put there
last, in one piece, and says what was installed. Without one that fits, every step is gone through
again: each is quick when its work is done.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import sys
from pathlib import Path

from .console import SetupError
from .extras import MODULES, requirement_files

BASE_FILES = ('torch', 'build', 'core', 'mmcv', 'dev', 'constraints', 'forks')
EXTRAS = (*MODULES, 'dev')
STAMP = 'mmadapt-stamp.json'
OWNER = 'mmadapt-made'


def check_extras(extras: list[str]) -> list[str]:
    """The extras asked for, sorted and without `dev`, which is always installed.

    Raises:
        SetupError: There is no such extra.
    """
    unknown = sorted(set(extras) - set(EXTRAS))
    if unknown:
        raise SetupError(
            f'no extra {", ".join(unknown)}; there are: {", ".join(EXTRAS)} '
            '(e.g. make env EXTRAS=pose,quant)'
        )
    return sorted(set(extras) - {'dev'})


def digest(*paths: Path) -> str:
    """SHA-256 of the requirement lines of files, comments aside."""
    lines = [line.split('#')[0].strip() for path in paths for line in path.read_text().splitlines()]
    return hashlib.sha256('\n'.join(filter(None, lines)).encode()).hexdigest()


def fingerprint(root: Path, ops: str, extras: list[str]) -> dict:
    """All that the content of `.venv` follows from.

    Args:
        root (Path): The checkout. It is part of it: an environment does not survive being moved.
        ops (str): Operators of mmcv, see :func:`checks.operators`.
        extras (list[str]): Names of extras.

    Returns:
        dict: JSON values; two environments with equal ones are alike.
    """
    return dict(
        root=str(root.resolve()),
        python=platform.python_version(),
        implementation=sys.implementation.cache_tag,
        machine=platform.machine(),
        ops=ops,
        base=digest(*(root / 'requirements' / f'{name}.txt' for name in BASE_FILES)),
        package=hashlib.sha256((root / 'setup.py').read_bytes()).hexdigest(),
        extras={name: digest(*requirement_files(name, root / 'requirements')) for name in extras},
    )


def read_stamp(venv: Path) -> dict:
    """The stamp of an environment; empty when there is none or it is not readable as one."""
    try:
        stamp = json.loads((venv / STAMP).read_text())
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def write_stamp(venv: Path, value: dict) -> None:
    """Writes the stamp in one piece."""
    part = venv / f'{STAMP}.part'
    part.write_text(json.dumps(value, indent=1) + '\n')
    os.replace(part, venv / STAMP)


def serves(have: str, wanted: str) -> bool:
    """Whether mmcv with some operators does for a machine that needs others: all have the CPU's."""
    return wanted == 'cpu' or (
        have.startswith('cuda-') and set(wanted[5:].split('+')) <= set(have[5:].split('+'))
    )


def is_complete(venv: Path, wanted: dict) -> bool:
    """Whether an environment has all that is wanted; it may have more extras."""
    stamp = read_stamp(venv)
    have = stamp.get('extras')
    return (
        bool(stamp)
        and isinstance(have, dict)
        and (venv / 'bin' / 'python').exists()
        and {**stamp, 'extras': 0, 'ops': 0} == {**wanted, 'extras': 0, 'ops': 0}
        and serves(str(stamp.get('ops')), wanted['ops'])
        and all(have.get(extra) == value for extra, value in wanted['extras'].items())
    )


def claim(venv: Path, wanted: dict) -> bool:
    """Takes the stamp off and makes sure that `.venv` is ours to work on.

    Args:
        venv (Path): The environment's folder.
        wanted (dict): A :func:`fingerprint`.

    Returns:
        bool: Whether what is there can be completed; False when it starts from an empty folder:
        nothing was there, or an environment of another Python or of a checkout that has been moved,
        which is removed.

    Raises:
        SetupError: Somebody else's environment is there.
    """
    owner = venv / OWNER
    identity = json.dumps([wanted['root'], wanted['python'], wanted['machine']]) + '\n'
    if venv.is_symlink() or (venv.exists() and not venv.is_dir()):
        raise SetupError(f'{venv} is not a folder; move it away')
    if venv.is_dir() and any(venv.iterdir()) and not owner.is_file():
        raise SetupError(
            f'{venv} was not made by `make env`; move it away, or remove it with make clean-env'
        )
    (venv / STAMP).unlink(missing_ok=True)
    fits = owner.is_file() and owner.read_text() == identity
    if not fits and venv.is_dir():
        # The mark goes last: what is left of an interrupted removal is still known as ours.
        for path in venv.iterdir():
            if path != owner:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    if not fits:
        venv.mkdir(exist_ok=True)
        part = venv / f'{OWNER}.part'
        part.write_text(identity)
        os.replace(part, owner)
    return fits


def drop_half_installed(site_packages: Path) -> list[str]:
    """Makes pip forget packages that it was interrupted in installing or replacing.

    pip writes INSTALLER after a package's last file; without it the package's name and version are
    there, so pip would take it for installed, and some of its files are not. Its leftovers called
    `~...` are removed too.

    Args:
        site_packages (Path): The folder of installed packages.

    Returns:
        list[str]: What was dropped.
    """
    dropped = [
        path for path in site_packages.glob('*.dist-info') if not (path / 'INSTALLER').is_file()
    ]
    for path in [*dropped, *site_packages.glob('~*')]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return sorted(path.name[: -len('.dist-info')] for path in dropped)
