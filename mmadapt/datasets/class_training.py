"""Which number MMPretrain gives to the images of a folder: the same in every split, or refused."""

from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config

from ..errors import UserError
from ..logs import warn
from .class_folders import (
    EMPTY,
    EXTENSIONS,
    MORE_EXTENSIONS,
    UNREAD,
    ClassSplit,
    check_class_folders,
    class_split,
)
from .file_checks import complete_path, dataset_class, leaf_datasets
from .library_classes import argument, keeps, library_class, raise_first_error
from .problems import Problems


def folder_of_classes(cls, leaf: dict) -> Path | None:
    """Return the folder whose folders are the classes of a data set; None where a file says them.

    Args:
        cls (type): The data set's class.
        leaf (dict): Its config.
    """
    base = library_class(cls, 'mmpretrain', 'CustomDataset')
    if not keeps(cls, base, 'load_data_list'):
        return None
    if leaf.get('ann_file') or leaf.get('split') or leaf.get('with_label', True) is False:
        return None
    prefix = leaf.get('data_prefix') or ''
    prefix = prefix if isinstance(prefix, str) else prefix.get('img_path') or ''
    path = complete_path(leaf, prefix)
    path = None if path is None else path.expanduser()
    return path if path is not None and path.is_dir() else None


def folder_names(cls, leaf: dict) -> tuple[str, ...]:
    """Return the classes that a data set takes from its folders; none where it has others."""
    folder = folder_of_classes(cls, leaf)
    return tuple(sorted(p.name for p in folder.iterdir() if p.is_dir())) if folder else ()


def check_class_data(cfg: Config, loops: Sequence[str], classes_of) -> None:
    """Refuse folders of classes that would be numbered otherwise than is meant.

    Args:
        cfg (Config): The whole config.
        loops (Sequence[str]): Among 'train', 'val' and 'test'.
        classes_of (Callable): Gives a data set's classes from its class, its config and its place.

    Raises:
        UserError: One line that names the folder and the remedy.
    """
    scope = cfg.get('default_scope') or 'mmdet'
    train: ClassSplit | None = None
    # What a test compares with is what was trained, where that is still there.
    for loop in dict.fromkeys(['train', *loops]):
        dataset = (cfg.get(f'{loop}_dataloader') or {}).get('dataset')
        for place, leaf in leaf_datasets(dataset, f'{loop}_dataloader.dataset'):
            cls = dataset_class(leaf, scope)
            folder = folder_of_classes(cls, leaf)
            if cls is None or folder is None:
                continue
            taken = argument(cls, leaf, 'extensions') or EXTENSIONS
            if 'extensions' not in leaf:
                taken = getattr(cls, 'IMG_EXTENSIONS', taken)
            split = class_split(loop, folder, [end.lower() for end in taken])
            if loop in loops:
                _check_filled(split, taken, place)
                _check_names(split, tuple(classes_of(cls, leaf, place) or ()), place)
                _check_folders(split, train, place)
                _say_left_out(split, place)
            train = train or (split if loop == 'train' else None)


def _check_filled(split: ClassSplit, taken: Sequence[str], place: str) -> None:
    """Check that there is an image in one of the folders."""
    if any(split.images.values()):
        return
    others = ', '.join(f'{count:,} {end or "files"}' for end, count in split.suffixes.items())
    raise UserError(
        f'{place}: no image in a folder of {split.folder}'
        + (f', which hold {others}' if others else '')
        + f': each class is a folder there of its images ({", ".join(sorted(taken))})'
    )


def _check_names(split: ClassSplit, classes: tuple[str, ...], place: str) -> None:
    """Check that the names in the config are those of the folders."""
    folders = tuple(split.images)
    if not classes:
        return
    hidden = [name for name in folders if name[0] == '.']
    if len(classes) != len(folders) and not hidden:
        lacking = [name for name in classes if name not in folders]
        many = len(folders) > 8
        write = f'write metainfo=dict(classes={"their sorted names" if many else repr(folders)})'
        remedy = (
            f'make an empty folder {lacking[0]!r} there, which keeps the numbers of the others, or '
            if 0 < len(lacking) < 8
            else ''
        ) + write
        raise UserError(
            f'{place} has the names of {len(classes)} classes, and {split.folder} {len(folders)} '
            f'folders, each of which is a class: {remedy}'
        )
    if not hidden and any(
        name in folders and folders[index] != name for index, name in enumerate(classes)
    ):
        raise UserError(
            f'{place}.metainfo.classes is in another order than the sorted folders of '
            f'{split.folder}, by which CustomDataset numbers: write classes={folders!r}'
        )


def _check_folders(split: ClassSplit, train: ClassSplit | None, place: str) -> None:
    """Check a split's folders, beside those of the training."""
    problems = Problems()
    splits = {split.name: split} if train is None else {'train': train, split.name: split}
    check_class_folders(splits, problems)
    # MMPretrain says of an empty folder itself that it is one.
    for kinds in problems.found.values():
        kinds.pop(EMPTY, None)
    raise_first_error(problems, place, f'{len(split.images):,} folders')


def _say_left_out(split: ClassSplit, place: str) -> None:
    """Say which images no data set takes."""
    whole = sum(map(len, split.images.values()))
    others = (*EXTENSIONS, *MORE_EXTENSIONS, *UNREAD)
    known = sum(split.suffixes[end] for end in others)
    if known > whole:
        listed = ', '.join(f'{split.suffixes[e]:,} {e}' for e in others if split.suffixes[e])
        warn(
            f'{place}: {known - whole:,} images of {split.folder} ({listed}) are left out; its '
            'extensions says which are taken'
        )
