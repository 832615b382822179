"""The data of a job: read and checked as `mmadapt dataset` does, and a file to inherit written."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from ..datasets.base_config import render, variable_prefix
from ..datasets.class_folders import read_class_folders
from ..datasets.coco_export import Export, read_export
from ..datasets.file_checks import leaf_datasets
from ..datasets.label_config import render_labels
from ..datasets.label_export import read_label_export
from ..datasets.layout import inside
from ..datasets.pose_config import render_poses
from ..datasets.pose_export import read_pose_export
from ..datasets.problems import Problems
from ..errors import UserError
from ..type_names import type_name
from ..values import close_names, nearest
from .draft import Draft
from .job import Job, meant
from .stock import Stock

SPLITS = dict(train='TRAIN_DIR', val='VAL_DIR', test='TEST_DIR')
_ANN_KEYS = dict(train='train_ann_file', val='val_ann_file')


@dataclass
class Data:
    """A data set of a job.

    Args:
        text (str): The file to inherit.
        prefix (str): What the names in it begin with.
        kind (str): ``'boxes'``, ``'masks'``, ``'maps'``, ``'points'`` or ``'classes'``.
        notes (list[str]): What was found that is no error.
    """

    text: str
    prefix: str
    kind: str
    notes: list[str]


@dataclass(frozen=True)
class _Place:
    """Where the data is, and what its file is made with.

    Args:
        root (Path): The folder of the data.
        splits (list[str]): Which splits the job has.
        prefix (str): What the names in the file begin with.
        command (str): The command, for the file's header.
    """

    root: Path
    splits: list[str]
    prefix: str
    command: str

    @property
    def data_root(self) -> str:
        """str: The folder as a config has it."""
        return f'{self.root.as_posix()}/'


def kind_of(job: Job, stock: Stock) -> str:
    """Return what the data of a job has: boxes, masks, label maps, points or classes."""
    kinds = dict(mmpose='points', mmpretrain='classes', mmseg='maps')
    masks = 'segmentation' in str(job.get('TASK')).lower()
    return kinds.get(stock.package, 'masks' if masks else 'boxes')


def read_data(job: Job, kind: str, keeps_unused: bool, command: str) -> Data:
    """Read and check the data of a job.

    Args:
        job (Job): The job; what becomes of the keys of its data is noted.
        kind (str): What :func:`kind_of` says.
        keeps_unused (bool): Whether Roboflow's unused parent category stays a class.
        command (str): The command, for the file's header.

    Returns:
        Data: The data set.

    Raises:
        UserError: It is not there, or something is wrong with it.
    """
    root = Path(_root(job))
    splits = [name for name, key in SPLITS.items() if name != 'test' or key in job]
    place = _Place(root, splits, variable_prefix(root.resolve().name), command)
    if kind == 'points':
        problems, text = _read_poses(job, place)
    elif kind in ('boxes', 'masks'):
        problems, text = _read_boxes(job, place, kind == 'masks', keeps_unused)
    elif kind == 'maps':
        problems, text = _read_maps(job, place)
    else:
        problems, text = _read_folders(job, place)
    notes = [f'{one.title}: {one.remedy}' for one in problems.kinds('warning')]
    return Data(text, place.prefix, kind, notes)


def _root(job: Job) -> str:
    root = job.get('CUSTOM_DATASET_PATH')
    if not root:
        raise UserError(f'{job.source}: CUSTOM_DATASET_PATH is missing: the folder of the data')
    path = Path(root)
    if not path.is_dir():
        raise UserError(
            f'{job.source}: CUSTOM_DATASET_PATH {root}: there is no such folder{meant(path)}'
        )
    job.became('CUSTOM_DATASET_PATH', 'data_root')
    return root


def _annotations(job: Job, root: Path, split: str) -> str | None:
    """Return a split's annotation file, relative to the data root; None leaves it to be found."""
    key, folder = _ANN_KEYS.get(split, ''), job.get(SPLITS[split])
    for one, path in ((SPLITS[split], folder), (key, job.values.get(key))):
        if path and inside(root, root / path) is None:
            raise UserError(
                f'{job.source}: {one} {path} is not below CUSTOM_DATASET_PATH {root}; name that so '
                'that it holds both'
            )
    if folder and not (root / folder).is_dir():
        names = [p.name for p in root.iterdir() if p.is_dir()]
        raise UserError(
            f'{job.source}: {SPLITS[split]} {folder}: {root} has no such folder; nearest: '
            f'{nearest(folder, names)}'
        )
    if key not in job:
        found = sorted((root / folder).glob('*.json')) if folder else []
        return found[0].relative_to(root).as_posix() if len(found) == 1 else None
    said = job.get(key)
    places = [*([root / folder / said] if folder else []), root / said]
    for path in places:
        if path.is_file():
            return (inside(root, path) or path).relative_to(root).as_posix()
    there = sorted({p for place in places for p in place.parent.glob('*.json')})
    holds = ', '.join(path.name for path in there[:5]) or 'no .json file'
    near = close_names(Path(said).name, [path.name for path in there])
    hint = f'; did you mean {near[0]}?' if near else ''
    raise UserError(
        f'{job.source}: {key} {said}: there is no {places[0]}; {places[0].parent} holds '
        f'{holds}{hint}'
    )


def _read_poses(job: Job, place: _Place) -> tuple[Problems, str]:
    chosen = {split: _annotations(job, place.root, split) for split in place.splits}
    export = read_pose_export(place.root, chosen, place.splits)
    _refuse_errors(job, export.problems, place.root)
    assert export.points is not None  # else there are errors
    _say_splits(job, place, export)
    text = render_poses(export, export.points, place.prefix, place.data_root, place.command)
    return export.problems, text


def _read_boxes(
    job: Job, place: _Place, with_masks: bool, keeps_unused: bool
) -> tuple[Problems, str]:
    chosen = {split: _annotations(job, place.root, split) for split in place.splits}
    export = read_export(place.root, chosen, place.splits, keeps_unused)
    _refuse_errors(job, export.problems, place.root)
    masks = None
    if with_masks:
        masks = {name: split.ann_file for name, split in export.splits.items()}
        lacking = [split.ann_file for split in export.splits.values() if not split.has_masks]
        if lacking:
            raise UserError(
                f'{job.source}: {lacking[0]} has boxes without a mask, of which TASK '
                f'{job.get("TASK")} cannot learn: mmadapt dataset {place.root} --fix writes a file '
                'of those that have one'
            )
    if export.dropped:
        job.warn(
            'CUSTOM_DATASET_PATH',
            f'{", ".join(export.dropped)}, the parent category of Roboflow, which no box uses, is '
            'no class: --keep-unused keeps it',
        )
    elif keeps_unused:
        job.became('CUSTOM_DATASET_PATH', f'classes: {", ".join(export.classes)}')
    _say_splits(job, place, export)
    text = render(export, place.prefix, place.data_root, place.command, masks)
    return export.problems, text


def _say_splits(job: Job, place: _Place, export: Export) -> None:
    for name, split in export.splits.items():
        images = split.image_dir.relative_to(place.root).as_posix()
        _say_folder(job, name, images, Path(images))
        if _ANN_KEYS.get(name, '') in job:
            ann_file = split.ann_file.relative_to(place.root).as_posix()
            job.became(_ANN_KEYS[name], f'ann_file = {ann_file!r}')


def _say_folder(job: Job, split: str, there: str, meant: Path) -> None:
    """Note where the images of a split are, and whether the job says the same."""
    key = SPLITS[split]
    said = job.get(key)
    job.became(key, f'{split}: images in {there}/')
    if said and Path(said) != meant:
        job.refuse(key, f'the images of this split are in {there}/: write that, or move them')


def _read_maps(job: Job, place: _Place) -> tuple[Problems, str]:
    export = read_label_export(place.root, place.splits, job.get('class_list') or ())
    _refuse_errors(job, export.problems, place.root)
    if 'palette' in job:
        colors = job.get('palette')
        if len(colors) != len(export.classes):
            raise UserError(
                f'{job.source}: palette has {len(colors)} colors for {len(export.classes)} classes'
            )
        export.colors = colors
        job.became('palette', 'metainfo.palette')
    if 'class_list' in job:
        job.became('class_list', f'metainfo.classes: {", ".join(export.classes)}')
    for name, split in export.splits.items():
        there = split.folder.image_dir.relative_to(place.root)
        said = Path(job.get(SPLITS[name]) or there)
        # `train` is the folder of images/train and masks/train.
        _say_folder(job, name, there.as_posix(), said if said.name == there.name else there)
        listed, key = split.folder.list_file, _ANN_KEYS.get(name, '')
        if key not in job:
            continue
        if listed is None:
            job.warn(key, 'no list of images is there: all that have a label map are used')
        else:
            job.became(key, f'ann_file = {listed.relative_to(place.root).as_posix()!r}')
    text = render_labels(export, place.prefix, place.data_root, place.command)
    return export.problems, text


def _read_folders(job: Job, place: _Place) -> tuple[Problems, str]:
    export = read_class_folders(place.root, place.splits)
    _refuse_errors(job, export.problems, place.root)
    for name, split in export.splits.items():
        there = split.folder.relative_to(place.root)
        _say_folder(job, name, there.as_posix(), there)
    text = render_labels(export, place.prefix, place.data_root, place.command)
    return export.problems, text


def _refuse_errors(job: Job, problems: Problems, root: Path) -> None:
    kinds = sorted(problems.kinds('error'), key=lambda kind: kind.title)
    if kinds:
        more = f', and {len(kinds) - 1} more kinds of errors' if len(kinds) > 1 else ''
        raise UserError(
            f'{job.source}: {root}: {kinds[0].title}{more}; `mmadapt dataset {root}` shows each, '
            'and --fix mends what can be mended'
        )


def set_data(draft: Draft, data: Data) -> None:
    """Bind a data set to the loaders and evaluators of a config.

    Args:
        draft (Draft): The config, which inherits the data set's file.
        data (Data): The data set.

    Raises:
        UserError: The stock config has no data set whose transforms could be taken.
    """
    cfg = draft.cfg
    prefix = f'{data.prefix}_masks' if data.kind == 'masks' else data.prefix
    for loop in ('train', 'val', 'test'):
        loader = cfg.get(f'{loop}_dataloader')
        leaves = [leaf for _, leaf in leaf_datasets(loader and loader.dataset, '')]
        if len(leaves) != 1 or not leaves[0].get('pipeline'):
            raise UserError(
                f'{draft.stock.name}: its {loop}_dataloader has {len(leaves)} data sets, whose '
                'transforms one cannot take over: name a config of one data set'
            )
        kept = {key: leaves[0][key] for key in ('return_classes', 'data_mode') if key in leaves[0]}
        steps: Iterable[Any] = leaves[0]['pipeline']
        if data.kind == 'maps':
            # A stock data set may count from 1, which the data's own file says of the new one.
            steps = [_as_they_are(step) for step in steps]
        own = ConfigDict(cfg[f'{prefix}_{loop}'], **kept, pipeline=steps)
        loader.dataset = _with(loader.dataset, leaves[0], own, draft.job)
        if loop != 'train':
            cfg[f'{loop}_evaluator'] = ConfigDict(cfg[f'{prefix}_{loop}_evaluator'])


def _as_they_are(step):
    if type_name(step.get('type')) == 'LoadAnnotations' and 'reduce_zero_label' in step:
        return ConfigDict({k: v for k, v in step.items() if k != 'reduce_zero_label'})
    return step


def _with(node, leaf, own: ConfigDict, job: Job):
    """Return a data set, or what holds it, with another one in the place of the innermost."""
    if node is leaf:
        return own
    if isinstance(node, list):
        return [_with(node[0], leaf, own, job)]
    inner = 'dataset' if node.get('dataset') else 'datasets'
    held = _with(node[inner], leaf, own, job)
    if type_name(node.get('type')) == 'RepeatDataset':
        times = node.get('times')
        job.warn('EPOCHS', f'an epoch is one pass through the data, of the stock config {times}')
        return held
    return ConfigDict(node, **{inner: held})


def names_of(cfg: Config, data: Data) -> list[str]:
    """Return the names of a data set's classes, or points."""
    if data.kind == 'points':
        points = cfg[f'{data.prefix}_metainfo'].keypoint_info
        return [points[index]['name'] for index in sorted(points)]
    return [*cfg[f'{data.prefix}_classes']]
