"""Which checkpoint a run starts from, and what to type to go on with a stopped one."""

import os
import re
import shlex
from pathlib import Path

from mmengine.config import Config

from mmadapt_command import typed_words

from ..errors import UserError
from ..files import is_adapter, is_checkpoint, refuse_adapter
from ..values import close_names
from .exit import typed_command

_SUFFIXES = ('.pth', '.safetensors')


def check_checkpoint(path: str, what: str = 'checkpoint') -> None:
    """Refuse the name of a local checkpoint that is not there.

    Args:
        path (str): A file, a folder that is a checkpoint (sharded, or of safetensors files), or an
            address (``https://...``), which is left to the loader.
        what (str): What it is, for the message. Defaults to 'checkpoint'.

    Raises:
        UserError: There is no such checkpoint; the message lists what the folder holds.
    """
    file = Path(path)
    if '://' not in path:
        refuse_adapter(path, f'the {what}')
    if '://' in path or is_checkpoint(path):
        return
    if file.is_dir():
        raise UserError(f'{what} {path} is a folder; it holds {_checkpoints_in(file)}')
    if not file.parent.is_dir():
        raise UserError(f'there is no {what} {path}, nor a folder {file.parent}')
    near = close_names(file.name, [f.name for f in file.parent.glob('*') if f.suffix in _SUFFIXES])
    hint = f'did you mean {file.parent / near[0]}? ' if near else ''
    raise UserError(
        f'there is no {what} {path}; {hint}{file.parent} holds {_checkpoints_in(file.parent)}'
    )


def _checkpoints_in(folder: Path) -> str:
    names = sorted(
        (f for f in folder.glob('*') if f.suffix in _SUFFIXES),
        key=lambda f: f.stat().st_mtime,
        reverse=True,
    )
    shown = ', '.join(f.name for f in names[:8]) + (', ...' if len(names) > 8 else '')
    return shown or 'no .pth file'


def last_checkpoint(work_dir: str) -> str | None:
    """Find the checkpoint that a run in this folder wrote last.

    Args:
        work_dir (str): Where a run wrote to.

    Returns:
        str or None: Its path; None when the folder has none.

    Raises:
        UserError: The folder names one that is not there.
    """
    # MMEngine's find_latest_checkpoint returns the name without looking for the file.
    note = Path(work_dir) / 'last_checkpoint'
    if not note.is_file():
        return None
    named = Path(note.read_text(encoding='utf-8').strip() or _newest(note.parent))
    for path in (named, note.parent / named.name):  # the second when the folder has been moved
        if is_checkpoint(str(path)):
            return str(path)
    raise UserError(
        f'{note} names {named}, which is not there; {work_dir} holds '
        f'{_checkpoints_in(Path(work_dir))}: name one with --resume PATH'
    )


def _newest(folder: Path) -> str:
    # A process that is killed while it writes the note, or a full disk, leaves an empty one.
    files = [file for file in folder.glob('*.pth') if re.fullmatch(r'(epoch|iter)_\d+', file.stem)]
    return max(files, key=lambda file: file.stat().st_mtime).name if files else ''


def set_resume(cfg: Config, resume: str | None) -> list[str]:
    """Apply ``--resume``.

    ``auto`` goes on from the last checkpoint of ``cfg.work_dir``. Where there is none the run
    starts from ``load_from`` as it would have without the option, so that one command serves both
    the first start and every restart; MMDetection would drop ``load_from`` and start from nothing.

    Args:
        cfg (Config): The config, its ``work_dir`` set; changed in place.
        resume (str, optional): None, 'auto' or a path.

    Returns:
        list[str]: What to log behind the printed config: where the run begins, if no checkpoint
        was found.

    Raises:
        UserError: The checkpoint is not there.
    """
    if resume is None:
        return []
    if resume != 'auto':
        if is_adapter(resume):
            raise UserError(
                f'--resume {resume} is an adapter, which holds no optimizer: resume '
                f'epoch_k.pth, or start from it by --cfg-options peft.adapter={resume}'
            )
        check_checkpoint(resume, 'checkpoint to resume from')
        cfg.resume, cfg.load_from = True, resume
        return []
    last = last_checkpoint(cfg.work_dir)
    if last is not None:
        cfg.resume, cfg.load_from = True, last
        return []
    cfg.resume = False
    start = cfg.get('load_from') or 'the initial weights of the config'
    return [f'--resume: {cfg.work_dir} has no checkpoint yet, so this run begins anew from {start}']


def how_to_go_on(work_dir: str, resume: str | None, began: float = 0) -> str:
    """Say what a stopped run has left, and what to type to go on.

    Args:
        work_dir (str): Where it wrote to.
        resume (str, optional): What ``--resume`` was in this run.
        began (float): When it began, as ``time.time()`` says. Defaults to 0.

    Returns:
        str: One line.
    """
    last = last_checkpoint(work_dir)
    if last and (resume is not None or os.path.getmtime(last) >= began):  # not of an earlier run
        return f'Last checkpoint: {last}. To go on: {resume_command(resume)}'
    return f'No checkpoint was written. To start again: {typed_command()}'


def resume_command(resume: str | None) -> str:
    """Return the command that goes on with this run after it was stopped.

    Args:
        resume (str, optional): What ``--resume`` was in this run.
    """
    words = typed_words()
    if '--resume' in words:
        place = words.index('--resume')
        # 'auto' may have been typed out.
        del words[place : place + (2 if words[place + 1 : place + 2] == [resume] else 1)]
    words = [word for word in words if not word.startswith('--resume=')]
    return f'{shlex.join(words)} --resume'
