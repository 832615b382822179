"""The stock config that a job's MODEL_PATH names, and the weights that belong to it."""

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from mmengine.config import Config
from mmengine.fileio import load

from ..errors import UserError
from ..extras import remedy
from ..values import close_names
from .job import Job

# What the tasks of nyuntam_adapt are called, and the packages whose configs they train.
TASKS = {
    'object_detection': ('mmdet',),
    'instance_segmentation': ('mmdet', 'mmseg'),
    'image_segmentation': ('mmseg', 'mmdet'),
    'semantic_segmentation': ('mmseg',),
    'pose_detection': ('mmpose',),
    'pose_estimation': ('mmpose',),
    'image_classification': ('mmpretrain',),
}
TEXT_TASKS = (
    'text_generation',
    'text_classification',
    'token_classification',
    'summarization',
    'translation',
    'question_answering',
    'seq2seq_tasks',
)
_LIBRARIES = dict(
    mmdet='mmdet', mmseg='mmseg', mmsegmentation='mmseg', mmdetection='mmdet', mmpose='mmpose'
)
_LIBRARIES |= dict(mmpretrain='mmpretrain', mmcls='mmpretrain')
_PACKAGES = ('mmdet', 'mmseg', 'mmpose', 'mmpretrain')


@dataclass(frozen=True)
class Stock:
    """A config to inherit.

    Args:
        name (str): As ``_base_`` has it: ``'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py'`` or a
            path.
        file (Path): Where it is.
        package (str): Which package's models it is of.
        weights (str | None): The URL of its weights, where the package names it.
    """

    name: str
    file: Path
    package: str
    weights: str | None = None


def packages_of(job: Job) -> tuple[str, ...]:
    """Return the packages whose configs a job may name, by its TASK and Library.

    Args:
        job (Job): The job; what becomes of both keys is noted.

    Raises:
        UserError: The task is none of those that are converted.
    """
    task = str(job.get('TASK') or '').strip().lower().replace(' ', '_').replace('-', '_')
    if not task:
        raise UserError(f'{job.source}: TASK is missing; one of {", ".join(TASKS)}')
    if task in TEXT_TASKS:
        raise UserError(
            f'{job.source}: TASK {task} is not converted: mmadapt trains text models from Python '
            f'(mmadapt.inject); tasks that are: {", ".join(TASKS)}'
        )
    if task not in TASKS:
        near = close_names(task, [*TASKS, *TEXT_TASKS])
        hint = f'; did you mean {near[0]}?' if near else ''
        raise UserError(f'{job.source}: TASK {task!r} is none of {", ".join(TASKS)}{hint}')
    packages = TASKS[task]
    library = str(job.get('Library') or '').lower()
    if library in _LIBRARIES:
        own = _LIBRARIES[library]
        if own not in packages:
            job.refuse('Library', f'{own} has no models for TASK {task}: {", ".join(packages)}')
        job.became('Library', f'configs of {own}')
        packages = (own, *(package for package in packages if package != own))
    elif library:
        job.warn('Library', f'configs of {" and ".join(packages)} are looked through')
    job.became('TASK', f'models of {" and ".join(packages)}')
    return packages


def find_stock(job: Job) -> Stock:
    """Return the config that a job trains.

    Args:
        job (Job): The job; what becomes of MODEL, MODEL_PATH, TASK and Library is noted.

    Raises:
        UserError: There is no such config; the message names the nearest.
    """
    packages = packages_of(job)
    said = str(job.get('MODEL_PATH') or job.get('model_path') or job.get('MODEL') or '')
    key = next((k for k in ('MODEL_PATH', 'model_path', 'MODEL') if k in job), 'MODEL_PATH')
    if not said:
        raise UserError(
            f'{job.source}: MODEL_PATH is missing: the name of a config such as '
            'rtmdet_tiny_8xb32-300e_coco, or its path'
        )
    if said.endswith('.py') and Path(said).is_file():
        stock = _own_file(Path(said), packages[0])
    else:
        stock = _by_name(said, packages, job, key)
    job.became(key, f'_base_ = [{stock.name!r}, ...]')
    for other in ('MODEL', 'model_path', 'model_type'):
        if other in job and other != key:
            job.became(other, f'of {key}: {stock.file.stem}')
    return stock


def _own_file(path: Path, package: str) -> Stock:
    scope = Config.fromfile(path, import_custom_modules=False).get('default_scope')
    return Stock(str(path.resolve()), path.resolve(), scope or package)


def _by_name(said: str, packages: tuple[str, ...], job: Job, key: str) -> Stock:
    if '::' in said:
        package, said = said.split('::', 1)
        if package not in _PACKAGES:
            raise UserError(f'{job.source}: {key}: {package!r} is none of {", ".join(_PACKAGES)}')
        packages = (package,)
    parts = Path(said.removesuffix('.py')).parts or ('',)
    stem = parts[-1]
    missing = [package for package in packages if find_spec(package) is None]
    found: dict[str, None] = {}
    for package in packages:
        if package in missing:
            continue
        folder = configs_of(package)
        names = [path.relative_to(folder).with_suffix('') for path in _files(folder)]
        same = [name for name in names if name.parts[-len(parts) :] == parts]
        if len(same) > 1:
            listed = ', '.join(name.as_posix() for name in same)
            raise UserError(f'{job.source}: {key} {said} is {listed}: name its folder too')
        if same:
            name = f'{same[0].as_posix()}.py'
            return Stock(f'{package}::{name}', folder / name, package, _weights(folder, name))
        found |= dict.fromkeys(each.name for each in names)
    if missing:
        what = f'{" and ".join(missing)} is not installed{remedy(missing[0])}'
        raise UserError(f'{job.source}: {key} {said}: {what}')
    begin = [name for name in found if name.startswith(stem.lower())]
    near = close_names(stem, found, most=3) or sorted(begin, key=len)[:3]
    hint = f'; nearest: {", ".join(near)}' if near else ''
    raise UserError(
        f'{job.source}: {key} {said}: no file and no config of {" or ".join(packages)}{hint}'
    )


def configs_of(package: str) -> Path:
    """Return the folder of the configs that come along with a package of OpenMMLab."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / '.mim' / 'configs'


@cache
def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob('*.py')) if '_base_' not in path.parts]


def _weights(folder: Path, name: str) -> str | None:
    """Return the URL of a config's weights, by the file that its folder describes itself with."""
    for path in (folder / name).parent.glob('*metafile*.y*ml'):
        described = load(path)
        models = described.get('Models', []) if isinstance(described, dict) else described
        for model in models or ():
            if isinstance(model, dict) and str(model.get('Config')).endswith(f'configs/{name}'):
                weights = model.get('Weights')
                return weights if isinstance(weights, str) else None
    return None
