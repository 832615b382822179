"""What the machine must have, looked at before anything large is downloaded."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from .console import SetupError

GIGABYTE = 10**9
PROGRAM = (
    '#include <Python.h>\n#include <vector>\nint main() { return std::vector<int>{}.size(); }\n'
)


def check_venv_module() -> None:
    """Raises SetupError when this Python has no venv (Debian packs it apart)."""
    missing = [name for name in ('venv', 'ensurepip') if importlib.util.find_spec(name) is None]
    if missing:
        version = f'{sys.version_info[0]}.{sys.version_info[1]}'
        raise SetupError(
            f'{sys.executable} has no module {" and no module ".join(missing)}; install it '
            f'(Debian/Ubuntu: apt-get install python{version}-venv) or name another Python: '
            'make env PYTHON=...'
        )


def check_disk(folder: Path, needed: float) -> None:
    """Raises SetupError when a folder's file system has less free space than needed (bytes)."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise SetupError(
            f'{folder} has {free / GIGABYTE:.1f} GB free and {needed / GIGABYTE:.0f} GB are '
            'needed; free some, or put the checkout on a larger disk'
        )


def find_compiler() -> str:
    """The C++ compiler that mmcv will be compiled with, after compiling a small program with it.

    Returns:
        str: Path of `$CXX`, else of `c++`, `g++` or `clang++`.

    Raises:
        SetupError: There is none, it cannot compile C++17, or Python's headers are missing.
    """
    named = os.environ.get('CXX')
    names = [named.split()[-1]] if named else ['c++', 'g++', 'clang++']
    found = next((path for path in map(shutil.which, names) if path), None)
    if found is None:
        what = f'CXX={named} is not a program' if named else 'no C++ compiler on the PATH'
        raise SetupError(
            f'{what}, and mmcv has to be compiled; install g++ '
            '(Debian/Ubuntu: apt-get install g++, Fedora: dnf install gcc-c++)'
        )
    include = sysconfig.get_paths()['include']
    if not (Path(include) / 'Python.h').is_file():
        version = f'{sys.version_info[0]}.{sys.version_info[1]}'
        raise SetupError(
            f"Python's headers are missing (no {include}/Python.h), and mmcv has to be compiled; "
            f'install them (Debian/Ubuntu: apt-get install python{version}-dev) or name another '
            'Python: make env PYTHON=...'
        )
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / 'probe.cpp'
        source.write_text(PROGRAM)
        done = subprocess.run(
            [found, '-std=c++17', f'-I{include}', '-c', str(source), '-o', f'{folder}/probe.o'],
            capture_output=True,
            text=True,
        )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ['no message'])[0]
        raise SetupError(
            f'{found} cannot compile a small C++17 program ({last}); install g++ 9 or newer, or '
            'name another compiler: make env CXX=...'
        )
    return found


def compile_jobs() -> int:
    """Compilers to run at once: `$MAX_JOBS`, else one a core, of which each gets 2 GB of memory."""
    named = os.environ.get('MAX_JOBS')
    if named:
        if not named.isdigit() or int(named) < 1:
            raise SetupError(
                f'MAX_JOBS={named} is not a number of compilers to run at once, e.g. MAX_JOBS=2'
            )
        return int(named)
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    )
    memory = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    return max(1, min(cores, int(memory / (2 * GIGABYTE))))


def operators() -> str:
    """Which operators of mmcv this machine needs.

    `$MMADAPT_OPS` (`cpu` or `cuda`) decides, else whether the NVIDIA driver shows a card. Cards are
    asked of the driver, whatever CUDA_VISIBLE_DEVICES says: hiding a card from one run must not
    compile mmcv anew. A node without a card compiles for others with MMADAPT_OPS=cuda and
    TORCH_CUDA_ARCH_LIST.

    Returns:
        str: `cpu`, or `cuda-` and the architectures, e.g. `cuda-8.0+9.0`.

    Raises:
        SetupError: `$MMADAPT_OPS` is neither, or no architecture is known.
    """
    asked = os.environ.get('MMADAPT_OPS', '')
    if asked not in ('', 'cpu', 'cuda'):
        raise SetupError(
            f'MMADAPT_OPS={asked} is neither cpu nor cuda (leave it unset to go by the cards found)'
        )
    if asked == 'cpu':
        return 'cpu'
    cards = card_architectures()
    named = re.findall(
        r'[0-9]+\.[0-9]+[a-z]?(?:\+PTX)?', os.environ.get('TORCH_CUDA_ARCH_LIST', '')
    )
    if asked == 'cuda' or cards:
        if not named and not cards:
            raise SetupError(
                'MMADAPT_OPS=cuda, but no NVIDIA card is visible; name what to compile for, e.g. '
                'TORCH_CUDA_ARCH_LIST=9.0 for an H100, 8.0 for an A100, 8.6 for an RTX 30xx'
            )
        return 'cuda-' + '+'.join(sorted({name.replace('+', '') for name in named or cards}))
    return 'cpu'


def card_architectures() -> list[str]:
    """Compute capabilities of the cards the NVIDIA driver shows, e.g. `['9.0']`."""
    if shutil.which('nvidia-smi') is None:
        return []
    try:
        done = subprocess.run(
            ['nvidia-smi', '--query-gpu=compute_cap', '--format=csv,noheader'],
            capture_output=True,
            text=True,
            timeout=60,
        )
    except subprocess.TimeoutExpired:
        raise SetupError(
            'nvidia-smi did not answer within a minute; mend the driver, or set MMADAPT_OPS=cpu to '
            'leave the cards unused'
        ) from None
    return sorted(set(re.findall(r'^\d+\.\d+$', done.stdout, re.M))) if done.returncode == 0 else []


def find_cuda() -> Path:
    """The CUDA toolkit to compile with.

    Returns:
        Path: `$CUDA_HOME`, `$CUDA_PATH`, /usr/local/cuda, or the home of the `nvcc` on the PATH.

    Raises:
        SetupError: None of them has a compiler.
    """
    nvcc = shutil.which('nvcc')
    candidates = [
        os.environ.get('CUDA_HOME'),
        os.environ.get('CUDA_PATH'),
        '/usr/local/cuda',
        Path(nvcc).resolve().parents[1] if nvcc else None,
    ]
    for folder in candidates:
        if folder and (Path(folder) / 'bin' / 'nvcc').is_file():
            return Path(folder)
    raise SetupError(
        'CUDA operators of mmcv have to be compiled, and there is no CUDA compiler (nvcc); install '
        'the CUDA toolkit and set CUDA_HOME to its folder, or set MMADAPT_OPS=cpu for operators '
        'that run on the CPU only'
    )


def check_cuda_version(home: Path, wanted: str | None) -> None:
    """Raises SetupError unless the toolkit is of the major version that torch was built with.

    Args:
        home (Path): The toolkit's folder.
        wanted (str | None): `torch.version.cuda`, e.g. `13.0`.
    """
    if wanted is None:
        raise SetupError(
            'the installed torch has no CUDA, so mmcv cannot be compiled for the card; set '
            'MMADAPT_OPS=cpu, or have pip install a CUDA build of torch and run make clean-env env'
        )
    done = subprocess.run([str(home / 'bin' / 'nvcc'), '--version'], capture_output=True, text=True)
    match = re.search(r'release (\d+)\.(\d+)', done.stdout)
    if match is None or match[1] != wanted.split('.')[0]:
        has = f'{match[1]}.{match[2]}' if match else 'of an unknown version'
        raise SetupError(
            f'the CUDA toolkit in {home} is {has} and torch was built with {wanted}; install CUDA '
            f'{wanted.split(".")[0]} and set CUDA_HOME to it, or set MMADAPT_OPS=cpu for operators '
            'that run on the CPU only'
        )
