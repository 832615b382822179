"""Compiles mmcv once for each torch, CUDA and Python, and keeps the wheel.

pip's own cache knows a compiled mmcv by its source only and hands the stale binary out after torch
has been upgraded; so the wheel lies in a folder named after all that it depends on, and never
enters pip's cache.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import sys
import sysconfig
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from . import checks
from .console import Console, SetupError, duration

NINJA = re.compile(r'\s*\[(\d+)/(\d+)\] ')
# Debug symbols are 30 of the 32 MB that the wheel has without this, and half of the time.
COMPILER_FLAGS = '-g0 -O2'


def wheel_cache() -> Path:
    """`$MMADAPT_CACHE/wheels`, else `~/.cache/mmadapt/wheels` (or under `$XDG_CACHE_HOME`)."""
    base = os.environ.get('MMADAPT_CACHE')
    if not base:
        base = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'mmadapt'
    return Path(base).expanduser().absolute() / 'wheels'


def wheel_key(mmcv: str, torch: str, ops: str) -> str:
    """Name of the folder for one compiled mmcv.

    Args:
        mmcv (str): Version of mmcv.
        torch (str): Full version of torch, e.g. `2.11.0+cu130`; `2.11.0*` makes a pattern.
        ops (str): `cpu` or `cuda-` and architectures, see :func:`checks.operators`.

    Returns:
        str: E.g. `mmcv-2.1.0_torch-2.11.0+cu130_cuda-9.0_cp311_linux-x86_64`.
    """
    python = f'cp{sys.version_info[0]}{sys.version_info[1]}'
    return f'mmcv-{mmcv}_torch-{torch}_{ops}_{python}_{sysconfig.get_platform()}'


def cached_wheel(folder: Path) -> Path | None:
    """The whole wheel in a folder of the cache; a damaged one is removed."""
    for path in sorted(folder.glob('mmcv-*.whl')):
        with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
            if archive.testzip() is None:
                return path
        path.unlink()
    return None


def is_cached(mmcv: str, torch: str, ops: str) -> bool:
    """Whether a wheel for this release of torch is there, before torch tells its full version."""
    return any(
        cached_wheel(folder) for folder in wheel_cache().glob(wheel_key(mmcv, f'{torch}*', ops))
    )


class NinjaProgress:
    """Turns ninja's `[12/77] c++ ...` lines into `compiling mmcv [12/77], about 4 min left`.

    Args:
        clock (Callable): Seconds that only rise.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.start: float | None = None

    def __call__(self, line: str) -> str | None:
        match = NINJA.match(line)
        if match is None:
            # The clock starts with the compilation, not with torch's import before it.
            if 'ninja' in line and self.start is None:
                self.start = self.clock()
            return None
        done, total = int(match[1]), int(match[2])
        if self.start is None:
            self.start = self.clock()
        spent = self.clock() - self.start
        if done == total:
            return f'compiling mmcv [{done}/{total}], linking'
        # Files differ too much for the first few to foretell the rest.
        left = duration(spent / done * (total - done)) if done > 3 else ''
        return f'compiling mmcv [{done}/{total}]' + (f', about {left} left' if left else '')


def build_environment(
    base: dict[str, str], ops: str, site_packages: Path, torch_cuda: str | None
) -> dict[str, str]:
    """The variables under which mmcv's setup.py compiles what is asked for, whatever it finds.

    Args:
        base (dict): The environment to start from.
        ops (str): See :func:`checks.operators`.
        site_packages (Path): Of the virtual environment.
        torch_cuda (str | None): `torch.version.cuda`.

    Returns:
        dict: `base` and what was added.
    """
    compiler = checks.find_compiler()
    env = dict(
        base,
        MMCV_WITH_OPS='1',
        MAX_JOBS=str(checks.compile_jobs()),
        CFLAGS=COMPILER_FLAGS,
        CXXFLAGS=COMPILER_FLAGS,
        CXX=base.get('CXX') or compiler,
    )
    if ops == 'cpu':
        # mmcv compiles for any card that torch sees.
        return dict(env, FORCE_CUDA='0', CUDA_VISIBLE_DEVICES='')
    home = checks.find_cuda()
    checks.check_cuda_version(home, torch_cuda)
    env.update(
        FORCE_CUDA='1',
        CUDA_HOME=str(home),
        TORCH_CUDA_ARCH_LIST=ops[len('cuda-') :].replace('+', ';').replace('PTX', '+PTX'),
    )
    # A toolkit may lack headers (cusparse.h) that torch's own CUDA packages have.
    headers = [
        site_packages / 'nvidia' / f'cu{torch_cuda.split(".")[0]}' / 'include',
        *sorted(site_packages.glob('nvidia/*/include')),
    ]
    paths = dict.fromkeys(str(path) for path in headers if path.is_dir())
    env['CPATH'] = os.pathsep.join([*paths, *filter(None, [base.get('CPATH')])])
    return env


@contextlib.contextmanager
def folder_lock(folder: Path, waiting: Callable[[], None]) -> Iterator[int]:
    """Holds a folder for one process, without a file; `waiting` is called when another has it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def provide(
    console: Console,
    pip: list[str],
    requirement: str,
    folder: Path,
    make_env: Callable[[], dict[str, str]],
) -> Path:
    """The wheel from a folder of the cache, compiled first when it is not there.

    The sources stay unpacked beside it until the wheel is done, so an interrupted compilation goes
    on with the files that are missing. The wheel appears in its place whole or not at all.

    Args:
        console (Console): Where progress goes.
        pip (list[str]): The command that runs the new environment's pip.
        requirement (str): E.g. `mmcv==2.1.0`.
        folder (Path): The folder of the cache, named by :func:`wheel_key`.
        make_env (Callable): Gives the variables to compile with; called only when compiling.

    Returns:
        Path: The wheel.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with folder_lock(
        folder, lambda: console.say('      waiting: another run is compiling the same mmcv')
    ) as lock:
        console.locks.append(lock)
        wheel = cached_wheel(folder)
        if wheel:
            console.say(f'      compiled before: {wheel}')
            return wheel
        env = make_env()
        work = folder / 'build'
        source = unpacked_source(console, pip, requirement, work, env)
        shutil.rmtree(work / 'wheel', ignore_errors=True)
        jobs = env['MAX_JOBS']
        console.say(
            f'      compiling with {jobs} job{"s" if jobs != "1" else ""}: 5 to 8 minutes on two '
            'cores, half an hour with CUDA operators; kept for the next time'
        )
        console.run(
            [
                *pip,
                'wheel',
                '-v',
                '--no-deps',
                '--no-build-isolation',
                '--no-cache-dir',
                '--wheel-dir',
                str(work / 'wheel'),
                str(source),
            ],
            'mmcv',
            env,
            NinjaProgress(),
            every=10,
        )
        built = list((work / 'wheel').glob('mmcv-*.whl'))
        if len(built) != 1:
            raise SetupError(
                f'pip ended well but left no mmcv wheel in {work / "wheel"}; '
                f'see {console.logs}/mmcv.log'
            )
        os.replace(built[0], folder / built[0].name)
        shutil.rmtree(work, ignore_errors=True)
        return folder / built[0].name


def unpacked_source(
    console: Console, pip: list[str], requirement: str, work: Path, env: dict[str, str]
) -> Path:
    """mmcv's sources, downloaded and unpacked once; a folder with that name is always whole."""
    source = work / 'source'
    if not source.is_dir():
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        console.run(
            [
                *pip,
                'download',
                '--no-deps',
                '--no-build-isolation',
                '--no-binary',
                'mmcv',
                '--dest',
                str(work),
                requirement,
            ],
            'mmcv',
            env,
        )
        (archive,) = work.glob('mmcv-*.tar.gz')
        with tarfile.open(archive) as tar:
            # Present since 3.10.12 and 3.11.4; it refuses members outside of the folder.
            if hasattr(tarfile, 'data_filter'):
                tar.extraction_filter = tarfile.data_filter
            tar.extractall(work / 'unpacking')
        (inner,) = (work / 'unpacking').iterdir()
        os.replace(inner, source)
    return source
