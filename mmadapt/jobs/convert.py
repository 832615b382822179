"""A job of nyuntam_adapt becomes a config that inherits a stock one."""

import copy
import shlex
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from ..config_files import inherited
from ..datasets.base_config import in_comments
from ..errors import UserError
from ..preflight import check_options
from .adaptation import peft_file, set_adaptation
from .data import kind_of, names_of, read_data, set_data
from .draft import Draft
from .job import Job
from .keys import TEXT_KEYS
from .leaf import changes, same
from .model import METRICS, set_classes, set_weights
from .processes import set_processes, set_strategy, shards
from .schedule import set_schedule
from .stock import find_stock
from .training import (
    set_checkpointing,
    set_checkpoints,
    set_length,
    set_loaders,
    set_loops,
    set_optimizer,
    set_precision,
    set_rate_by_batch,
    set_resuming,
)

_FSDP2 = 'strategies/fsdp2.py'


@dataclass
class Converted:
    """A converted job.

    Args:
        config (str): The config.
        data (str): The data set's file, which it inherits.
        command (list[str]): What trains it, or tests where the job does not train.
        environment (dict[str, str]): The variables that the command is started with.
        processes (int): On how many processes of a machine.
        nodes (int): On how many machines.
        notes (list[str]): What was found in the data that is no error.
    """

    config: str
    data: str
    command: list[str]
    environment: dict[str, str]
    processes: int
    nodes: int
    notes: list[str]


def data_file(out: Path) -> Path:
    """Return where the data set's file of a config stands: beside it."""
    return out.with_name(f'{out.stem}_data.py')


def convert_job(
    job: Job, out: Path, command: list[str], keep_schedule: bool = False, keep_unused: bool = False
) -> Converted | None:
    """Convert a job.

    Args:
        job (Job): The job. What became of each key is in its lines then.
        out (Path): Where the config is going to be.
        command (list[str]): What was typed, for the headers of the files.
        keep_schedule (bool): Whether epochs beyond the run stay as they are.
        keep_unused (bool): Whether Roboflow's unused parent category stays a class.

    Returns:
        Converted | None: The files; None where keys of the job forbid it.

    Raises:
        UserError: What a config begins with is missing: the stock config, or the data.
    """
    stock = find_stock(job)
    kind = kind_of(job, stock)
    data = read_data(job, kind, keep_unused, shlex.join(command))
    method = peft_file(job)
    files = [file for file in (method, _FSDP2 if shards(job) else None) if file]
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder, data_file(out).name)
        written.write_text(data.text, encoding='utf-8')
        # As Config reads the config itself, but for what is to differ.
        bases = [repr(stock.name), repr(written.name), *map(inherited, files)]
        inherits = f'_base_ = [\n    {f",{chr(10)}    ".join(bases)}\n]\n'
        first = Path(folder, out.name)
        first.write_text(inherits, encoding='utf-8')
        whole = Config.fromfile(first, import_custom_modules=False)
        draft = Draft(job, stock, copy.deepcopy(whole), keep_schedule, kind, METRICS[kind])
        _fill(draft, data, out)
        if job.errors:
            return None
        config = _header(draft, command, out) + inherits + changes(whole, draft.cfg)
        first.write_text(config, encoding='utf-8')
        read = Config.fromfile(first, import_custom_modules=False)
        wrong = [key for key in draft.cfg if not same(draft.cfg[key], read.get(key))]
        assert not wrong, f'the config that was written says something else of {wrong}'
    return Converted(
        config,
        data.text,
        _command(draft, out),
        draft.environment,
        draft.processes,
        draft.nodes,
        data.notes,
    )


def _fill(draft: Draft, data, out: Path) -> None:
    """Let a draft say everything that the job says."""
    job, cfg = draft.job, draft.cfg
    names = names_of(cfg, data)
    stock = copy.deepcopy(cfg)
    set_data(draft, data)
    _merge_first(draft)
    set_weights(draft)
    set_classes(draft, names, data_file(out))
    set_processes(draft)
    mixed = set_strategy(draft)
    set_length(draft)
    set_loaders(draft)
    set_optimizer(draft)
    set_schedule(draft)
    set_rate_by_batch(draft)
    set_precision(draft, mixed)
    if cfg.get('peft') is not None:
        set_adaptation(draft)
        set_checkpointing(draft)
    set_checkpoints(draft)
    set_resuming(draft)
    set_loops(draft)
    _set_folders(draft)
    _say_taken_places(draft, stock)
    _set_options(draft, stock)
    _say_what_is_left(job, names)


def _set_folders(draft: Draft) -> None:
    """OUTPUT_DIR, work_dir, LOGGING_PATH."""
    job = draft.job
    output, work = job.get('OUTPUT_DIR'), job.get('work_dir')
    draft.cfg.work_dir = output or work or './results'
    if output:
        job.became('OUTPUT_DIR', 'work_dir: checkpoints, adapter and merged model')
        if work and Path(work) != Path(output):
            job.warn('work_dir', f'OUTPUT_DIR is where the run writes: {output}')
        elif work:
            job.became('work_dir', 'the same as OUTPUT_DIR')
    elif work:
        job.became('work_dir', 'work_dir')
    if 'LOGGING_PATH' in job:
        path = (Path(job.get('LOGGING_PATH')) / 'log.log').as_posix()
        draft.add_hook(type='LogFileHook', path=path)
        job.became('LOGGING_PATH', f'the log is in {path} too')


def _say_taken_places(draft: Draft, stock: Config) -> None:
    """Say which of cfg_options stand in the place of what another key says."""
    options = draft.job.get('cfg_options')
    for place, value in options.items() if isinstance(options, dict) else ():
        here, before = (_at(cfg, place) for cfg in (draft.cfg, stock))
        if not same(here, before) and not same(here, value):
            draft.job.warn(
                'cfg_options', f'{place} = {value}, where another key of the job says {here}'
            )


def _at(cfg, place: str):
    for key in place.split('.'):
        try:
            cfg = cfg[int(key)] if isinstance(cfg, (list, tuple)) else cfg[key]
        except (KeyError, IndexError, TypeError, ValueError):
            return None
    return cfg


def _merge_first(draft: Draft) -> None:
    """Merge cfg_options before all else goes by what they say: behind it they win once more."""
    options = draft.job.get('cfg_options')
    if isinstance(options, dict):
        with suppress(KeyError, TypeError, IndexError):  # which is said then
            draft.cfg.merge_from_dict(copy.deepcopy(options))


def _set_options(draft: Draft, stock: Config) -> None:
    """cfg_options."""
    options = draft.job.get('cfg_options')
    if 'cfg_options' not in draft.job:
        return
    if not options or options is True:
        draft.job.became('cfg_options', "none: the config's own values")
        return
    try:
        warnings = check_options(stock, options)
        draft.cfg.merge_from_dict(options)
    except (UserError, KeyError, TypeError, IndexError) as error:
        draft.job.refuse('cfg_options', str(error))
        return
    for line in warnings:
        draft.job.warn('cfg_options', line)
    draft.job.became('cfg_options', ', '.join(f'{key}={value}' for key, value in options.items()))


def _say_what_is_left(job: Job, names: list[str]) -> None:
    for key in job.unsaid:
        if key == 'JOB_SERVICE':
            job.became(key, 'this command')
        elif key in TEXT_KEYS:
            job.warn(key, f'is of text tasks; TASK is {job.get("TASK")}')
        elif key == 'class_list':
            same_names = [*job.get(key)] == names
            said = 'as the annotations have them'
            if same_names:
                job.became(key, said)
            else:
                job.warn(key, f'the annotations have {", ".join(names)}, which counts')
        elif key == 'palette':
            job.warn(key, 'is of semantic segmentation')
        elif key == 'image_processor_path':
            job.warn(key, 'images are prepared by the transforms of the stock config')
        elif key in ('train_ann_file', 'val_ann_file'):
            job.warn(key, 'this data has no annotation file')
        else:
            job.warn(key, 'has nothing to act on in this job')


def _command(draft: Draft, out: Path) -> list[str]:
    what = ['train', str(out)]
    if not draft.job.get('DO_TRAIN'):
        what = ['test', str(out), str(draft.cfg.get('load_from'))]
    if draft.processes * draft.nodes == 1:
        return ['mmadapt', *what]
    return ['mmadapt', 'launch', *draft.launch, str(draft.processes), *what]


def _header(draft: Draft, command: list[str], out: Path) -> str:
    variables = [f'{name}={shlex.quote(value)}' for name, value in draft.environment.items()]
    run = ' '.join([*variables, shlex.join(_command(draft, out))])
    made = f'{draft.stock.file.stem}, converted by: {shlex.join(command)}'
    return in_comments([made, run]) + '\n'
