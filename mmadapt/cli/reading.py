"""Why a config could not be read: the file, the line and what to write, from MMEngine's error.

A config is a program that inherits others; MMEngine reads it from temporary copies and raises what
comes, often without the name of the file. That is found in the frames that the error has passed.
"""

import traceback
from pathlib import Path

from mmengine.utils import get_installed_path, is_installed

from ..config_files import config_names, inherited
from ..extras import remedy
from ..values import close_names

_MERGED = ('peft', 'memory')


def explain(error: Exception, path: str) -> str:
    """Return the line to show for an error of reading a config.

    Args:
        error (Exception): What MMEngine has raised.
        path (str): The config as the command named it.

    Returns:
        str: The file that is wrong, which may be one that the config inherits, and why.
    """
    frames = list(traceback.walk_tb(error.__traceback__))
    reading = [
        frame
        for frame, _ in frames
        if frame.f_code.co_name in ('_file2dict', '_parse_lazy_import', 'fromfile')
    ]
    if len(reading) > 1 and not Path(str(reading[-1].f_locals['filename'])).is_file():
        reading.pop()  # what is missing; before it, what inherits it
    file = str(reading[-1].f_locals['filename']) if reading else path
    own = file  # as it is compiled
    if '::' not in path and Path(file) == Path(path).absolute():
        file = path
    if isinstance(error, SyntaxError):
        text = (error.text or '').strip()
        return f'{file}, line {error.lineno}: {error.msg}' + (f': {text}' if text else '')
    if isinstance(error, FileNotFoundError) and not reading:
        return f'{path}: {path.partition("::")[0]} has no such config{nearest_stock(path)}'
    if isinstance(error, FileNotFoundError) and 'base_cfg_path' in reading[-1].f_locals:
        base = str(reading[-1].f_locals['base_cfg_path'])
        near = nearest_stock(base) if '::' in base else _nearest_base(Path(file).parent / base)
        return f'{file} inherits a file that is not there: {base}{near}'
    keys = reading[-1].f_locals.get('duplicate_keys') if reading else None
    if isinstance(error, KeyError) and keys:
        return _duplicate(sorted(keys), file, reading[-1].f_locals.get('base_cfg_path'))
    if isinstance(error, ImportError) and str(error).startswith('Failed to import custom modules'):
        cause: BaseException = error
        while behind := cause.__cause__ or cause.__context__:
            cause = behind
        name = str(error.__cause__).removeprefix('Failed to import ')
        missing = cause.name or '' if isinstance(cause, ModuleNotFoundError) else ''
        mend = remedy(missing) or '; the folder it is in has to be in PYTHONPATH'
        return f'{file}: custom_imports={name}: {type(cause).__name__}: {cause}{mend}'
    if isinstance(error, ModuleNotFoundError) and reading:
        base = str(reading[-1].f_locals.get('base_cfg_path', ''))
        package = base.partition('::')[0]
        if '::' in base and not is_installed(package):
            return f'{file} inherits {base}, and {package} is not installed{remedy(package)}'
    message = error.args[0] if isinstance(error, KeyError) and error.args else error
    lines = [line for frame, line in frames if frame.f_code.co_filename == own]
    last, line = frames[-1][0].f_code.co_filename, frames[-1][1]
    where = f'{file}, line {lines[-1]}' if lines else file
    if not lines and Path(last).is_file() and 'mmengine' not in Path(last).parts:
        where += f', in {last}, line {line}'
    return f'{where}: {type(error).__name__}: {" ".join(str(message).split())}'


def nearest_stock(path: str) -> str:
    """Return up to three configs of an installed package named like ``package::folder/name.py``.

    Args:
        path (str): As it was written.

    Returns:
        str: `; nearest: ...`, or nothing.
    """
    package, _, name = path.partition('::')
    if not is_installed(package):
        return ''
    folder = Path(get_installed_path(package), '.mim', 'configs')
    names = [file.relative_to(folder).as_posix() for file in sorted(folder.rglob('*.py'))]
    near = close_names(name, names, most=3)
    if not near:  # in another folder
        by_name = {Path(file).name: file for file in names}
        near = [by_name[file] for file in close_names(Path(name).name, by_name, most=3)]
    return f'; nearest: {", ".join(f"{package}::{file}" for file in near)}' if near else ''


def nearest_file(path: Path) -> str:
    """Return up to three config files like ``path``, of its folder and of configs/.

    Args:
        path (Path): As it was written.

    Returns:
        str: `; nearest: ...`, `; mmadapt configs copy ...` for one of this package, or what of
        the path is not there.
    """
    files: dict[str, str] = {}
    for file in (*sorted(path.parent.glob('*.py')), *sorted(Path('configs').rglob('*.py'))):
        files.setdefault(file.name, str(file))
    wanted = path.name if path.suffix else f'{path.name}.py'
    near = close_names(wanted, files, most=3)
    brought = {Path(name).name: name for name in config_names()}
    ours = close_names(wanted, brought, likeness=0.9)
    if ours and ours[0] not in files:
        return f'; `mmadapt configs copy {brought[ours[0]]} .` puts {ours[0]} here'
    if near:
        return f'; nearest: {", ".join(files[name] for name in near)}'
    return '' if path.parent.is_dir() else f', nor a folder {path.parent}'


def _nearest_base(path: Path) -> str:
    name = path.as_posix().rpartition('_base_/')[2]
    if f'_base_/{name}' in config_names():
        return f'; mmadapt brings it: {inherited(name)}'
    return nearest_file(path)


def _duplicate(keys: list[str], file: str, second: str | None) -> str:
    names = ', '.join(f'`{key}`' for key in keys)
    what = (
        f'{file}: two files of its _base_ set {names}, the second is {second}; MMEngine merges '
        'no key of two bases'
    )
    if set(keys) <= set(_MERGED):
        return (
            f'{what}: inherit one of them, and write {keys[0]} = dict(...) with what is to be '
            'other in the config itself'
        )
    return f'{what}: let one of them inherit the other, or inherit one and write the rest here'
