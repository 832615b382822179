"""The steps of `make env`, in order."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import unquote

from . import checks, mmcv_wheel, stamp
from .console import Console, SetupError, duration
from .extras import MODULES, pip_arguments

ROOT = Path(__file__).resolve().parents[2]
# torch with its CUDA libraries takes 5 GB, and its downloads 2.5 GB while it is being installed.
DISK_BEFORE_TORCH, DISK_AFTER_TORCH = 8 * checks.GIGABYTE, 1 * checks.GIGABYTE
BESIDE = '.venv-extras'


def main(arguments: list[str]) -> int:
    """Makes or completes the environment.

    Args:
        arguments (list[str]): Names of extras, also several in one, separated by commas. After
            `--beside` they are installed in an environment of their own, that looks into this one.

    Returns:
        int: The exit status: 0 done, 1 it cannot be made (said in a line), 130 interrupted.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        extras = stamp.check_extras(
            [
                name
                for argument in arguments
                if argument != '--beside'
                for name in re.split(r'[,\s]+', argument)
                if name
            ]
        )
        make(ROOT, extras, beside='--beside' in arguments)
    except SetupError as error:
        print(f'make env: {error}', file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        print(
            '\nmake env: interrupted; run it again and it continues here',
            file=sys.stderr,
            flush=True,
        )
        return 130
    return 0


def make(root: Path, extras: list[str], beside: bool = False) -> None:
    """Brings `root/.venv` to what the requirement files say; that it is there is found out at once.

    Args:
        root (Path): The checkout.
        extras (list[str]): Extras wanted beside those that are there already.
        beside (bool): Leave `.venv` without them: they come into `.venv-extras`, where everything
            else is that of `.venv`.

    Raises:
        SetupError: It cannot be made.
    """
    if beside:
        make(root, [])
    venv = root / (BESIDE if beside else '.venv')
    ops = checks.operators()
    if stamp.is_complete(venv, stamp.fingerprint(root, ops, extras)):
        print(f'make env: {venv.name} is complete, nothing to do', flush=True)
        return
    with mmcv_wheel.folder_lock(
        root, lambda: print('make env: waiting for another run in this checkout', flush=True)
    ) as lock:
        # An extra once asked for stays, so that `make test` does not undo `make env EXTRAS=pose`.
        had = stamp.read_stamp(venv).get('extras')
        extras = sorted({*extras, *(name for name in had or () if name in stamp.EXTRAS)})
        wanted = stamp.fingerprint(root, ops, extras)
        if not stamp.is_complete(venv, wanted):
            (Beside if beside else Build)(root, ops, extras, wanted, lock).run()


def pin(root: Path, file: str, name: str) -> str:
    """The version that a requirement file pins a package to."""
    match = re.search(
        rf'^{name}==([^\s;]+)', (root / 'requirements' / f'{file}.txt').read_text(), re.M
    )
    if match is None:
        raise SetupError(
            f'requirements/{file}.txt does not pin {name}, expected a line {name}==VERSION'
        )
    return match[1]


class Build:
    """One run through the steps that make `.venv`.

    Args:
        root (Path): The checkout.
        ops (str): Operators of mmcv, see :func:`checks.operators`.
        extras (list[str]): Extras to install.
        wanted (dict): The stamp to leave, see :func:`stamp.fingerprint`.
        lock (int): Descriptor of the checkout's lock.
    """

    folder = '.venv'
    steps = 6

    def __init__(self, root: Path, ops: str, extras: list[str], wanted: dict, lock: int) -> None:
        self.root, self.ops, self.extras, self.wanted = root, ops, extras, wanted
        self.venv = root / self.folder
        self.python = str(self.venv / 'bin' / 'python')
        self.pip = [self.python, '-m', 'pip', '--disable-pip-version-check', '--no-input']
        self.site_packages = (
            self.venv
            / 'lib'
            / f'python{sys.version_info[0]}.{sys.version_info[1]}'
            / 'site-packages'
        )
        self.console = Console(total=self.steps + len(extras), logs=self.venv / 'logs')
        self.console.locks.append(lock)
        # pip unpacks gigabytes into its temporary folder; /tmp may be small, and not ours to clean.
        self.temporary = self.venv / 'tmp'
        dropped = (
            'PYTHONPATH',
            'PYTHONHOME',
            'PIP_USER',
            'PIP_TARGET',
            'PIP_PREFIX',
            '__PYVENV_LAUNCHER__',
        )
        self.env = {key: value for key, value in os.environ.items() if key not in dropped}
        self.env.update(
            PYTHONNOUSERSITE='1',
            PYTHONUNBUFFERED='1',
            TMPDIR=str(self.temporary),
            VIRTUAL_ENV=str(self.venv),
            PATH=f'{self.venv / "bin"}{os.pathsep}{os.environ.get("PATH", "")}',
        )

    def run(self) -> None:
        """All steps, then the stamp."""
        start = time.monotonic()
        self.make()
        with self.console.step('self-check'):
            self.check()
        shutil.rmtree(self.temporary, ignore_errors=True)
        stamp.write_stamp(self.venv, self.wanted)
        parts = ', '.join(
            f'{title.split(":")[0].split(",")[0]} {duration(spent)}'
            for title, spent in self.console.times
        )
        self.console.say(f'make env: complete after {duration(time.monotonic() - start)} ({parts})')

    def make(self) -> None:
        """All steps but the last, which looks at the result."""
        mmcv, torch = pin(self.root, 'mmcv', 'mmcv'), pin(self.root, 'torch', 'torch')
        torchvision = pin(self.root, 'torch', 'torchvision')
        self.preflight(mmcv, torch)
        console, step = self.console, self.console.step
        kind = 'CPU operators' if self.ops == 'cpu' else f'CUDA operators ({self.ops[5:]})'
        console.say(
            f'make env: Python {self.wanted["python"]}, torch {torch}, mmcv {mmcv} with {kind}, '
            f'into {self.venv}'
        )
        with step('virtual environment'):
            self.make_venv()
        with step(
            f'torch {torch} and torchvision {torchvision}: about a minute, 2.5 GB to download'
        ):
            self.install('torch', *self.files('-r', 'torch', 'build'), *self.files('-c', 'core'))
        with step(
            'MMEngine, MMDetection and what they, the demo and the tests need: about half a minute'
        ):
            self.install('requirements', *self.files('-r', 'torch', 'build', 'core', 'dev'))
        with step(f'mmcv {mmcv}'):
            self.install_mmcv(mmcv)
        for extra in self.extras:
            with step(f'extra {extra}'):
                self.install_extra(extra)
        with step('mmadapt, editable'):
            self.install('mmadapt', '--no-deps', '--no-build-isolation', '-e', str(self.root))

    def check(self) -> None:
        """Imports everything in the new environment; what it finds is the last line it prints."""
        script = str(Path(__file__).with_name('selfcheck.py'))
        printed: list[str] = []
        # Isolated: the script's own folder has names that packages import too.
        modules = [name for extra in self.extras for name in MODULES[extra]]
        command = [self.python, '-I', script, self.ops, *modules]
        self.console.run(command, 'selfcheck', self.env, lambda line: printed.append(line.strip()))
        self.console.say(f'      {printed[-1]}')

    def preflight(self, mmcv: str, torch: str) -> None:
        """Everything that can be found missing before gigabytes are downloaded."""
        checks.check_venv_module()
        if not mmcv_wheel.is_cached(mmcv, torch, self.ops):
            checks.find_compiler()
            checks.compile_jobs()
            if self.ops != 'cpu':
                checks.find_cuda()
        has_torch = any(self.site_packages.glob(f'torch-{torch}*.dist-info'))
        checks.check_disk(self.root, DISK_AFTER_TORCH if has_torch else DISK_BEFORE_TORCH)

    def make_venv(self) -> None:
        """The virtual environment itself, and order after an interrupted run."""
        stamp.claim(self.venv, self.wanted)
        shutil.rmtree(self.temporary, ignore_errors=True)
        self.temporary.mkdir()
        dropped = stamp.drop_half_installed(self.site_packages)
        if dropped:
            self.console.say(
                f'      half installed by an interrupted run, installed again: {", ".join(dropped)}'
            )
        works = (
            os.path.exists(self.python)
            and subprocess.run(
                [*self.pip, '--version'], env=self.env, capture_output=True
            ).returncode
            == 0
        )
        if not works:
            self.console.run([sys.executable, '-m', 'venv', str(self.venv)], 'venv', self.env)

    def files(self, option: str, *names: str) -> list[str]:
        """pip's option (`-r` or `-c`) for each of some requirement files."""
        folder = self.root / 'requirements'
        return [word for name in names for word in (option, str(folder / f'{name}.txt'))]

    def install(self, log: str, *arguments: str) -> None:
        self.console.run([*self.pip, 'install', '--progress-bar', 'off', *arguments], log, self.env)

    def install_mmcv(self, mmcv: str) -> None:
        """The wheel compiled for the torch that is installed, unless that very one is in place."""
        query = 'import json, torch; print(json.dumps([torch.__version__, torch.version.cuda]))'
        asked = subprocess.run(
            [self.python, '-c', query], env=self.env, capture_output=True, text=True
        )
        if asked.returncode:
            raise SetupError(
                'the installed torch cannot be imported: '
                f'{(asked.stderr.strip().splitlines() or ["no message"])[-1]}; '
                'make clean-env, then again'
            )
        torch, cuda = json.loads(asked.stdout.splitlines()[-1])
        folder = mmcv_wheel.wheel_cache() / mmcv_wheel.wheel_key(mmcv, torch, self.ops)
        wheel = mmcv_wheel.provide(
            self.console,
            self.pip,
            f'mmcv=={mmcv}',
            folder,
            lambda: mmcv_wheel.build_environment(self.env, self.ops, self.site_packages, cuda),
        )
        try:
            record = (self.site_packages / f'mmcv-{mmcv}.dist-info' / 'direct_url.json').read_text()
            in_place = unquote(json.loads(record)['url']) == unquote(wheel.as_uri())
        except (OSError, ValueError, KeyError):
            in_place = False
        if not in_place:
            self.install('mmcv', '--no-deps', '--force-reinstall', str(wheel))

    def install_extra(self, extra: str) -> None:
        """What an extra brings, none of which may move the matrix."""
        folder = self.root / 'requirements'
        names = ('torch', 'build', 'core', 'dev', 'constraints')
        pins = [folder / f'{name}.txt' for name in names]
        for arguments in pip_arguments(extra, pins, folder):
            self.install(f'extra-{extra}', *arguments)


class Beside(Build):
    """One run through the steps that make `.venv-extras`, which has the extras and nothing else.

    What is imported there and is not in it is that of `.venv`: so `.venv` is known to do without.
    """

    folder = BESIDE
    steps = 3

    def make(self) -> None:
        checks.check_disk(self.root, DISK_AFTER_TORCH)
        base = self.root / '.venv'
        self.console.say(f'make env: extras beside {base}, into {self.venv}')
        with self.console.step('virtual environment'):
            self.make_venv()
            look_into(base / self.site_packages.relative_to(self.venv), self.site_packages)
        self.env['PATH'] = os.pathsep.join(
            [str(self.venv / 'bin'), str(base / 'bin'), os.environ.get('PATH', '')]
        )
        for extra in self.extras:
            with self.console.step(f'extra {extra}'):
                self.install_extra(extra)
        with self.console.step('maintained forks, where nothing imports them by accident'):
            forks = str(self.venv / 'forks')
            self.install('forks', '--no-deps', '--upgrade', '-t', forks, *self.files('-r', 'forks'))


def look_into(packages: Path, site_packages: Path) -> None:
    """Makes an environment find another one's packages behind its own.

    Args:
        packages (Path): The other one's folder of packages. Its path files count too: mmadapt's
            editable installation is one.
        site_packages (Path): The environment's own.
    """
    (site_packages / 'beside.pth').write_text(f'import site; site.addsitedir({str(packages)!r})\n')
