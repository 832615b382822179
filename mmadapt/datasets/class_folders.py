"""Images in one folder a class, as MMPretrain's `CustomDataset` numbers and finds them.

Every folder is a class, hidden and empty ones too, numbered by its place among the sorted names;
``metainfo.classes`` only renames. Files of other suffixes than its ``extensions`` are left out.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..values import close_names
from .label_layout import files_below, find_class_folders
from .problems import Kind, Problems
from .seen_images import look_at_images

# Those of CustomDataset, and those that are images as well: OpenCV reads the first of these.
EXTENSIONS = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif')
MORE_EXTENSIONS = ('.webp', '.tiff', '.jfif', '.jpe')
UNREAD = ('.gif', '.heic', '.heif', '.avif')

NO_SPLIT = Kind(
    'error',
    'no such split',
    'expected SPLIT/CLASS/NAME.jpg with SPLIT one of train; validation, valid, val',
)
NO_TEST = Kind('note', 'no test split', 'the test data set is the validation split')
HIDDEN = Kind(
    'error',
    'hidden folders',
    'each is a class for CustomDataset and shifts the numbers of the others: remove them',
)
EMPTY = Kind(
    'error',
    'folders without an image',
    'each is a class for CustomDataset that is never learned, and shifts the numbers of the '
    'others: remove them, or put images there',
)
LACKS_CLASS = Kind(
    'error',
    'classes of the training split that have no folder',
    'CustomDataset numbers the other classes without them; mmadapt dataset FOLDER --fix makes '
    'empty folders, which keep the numbers',
    True,
)
NEW_CLASS = Kind(
    'error',
    'classes that the training split lacks',
    'CustomDataset gives them numbers, which shifts others: rename or remove the folders',
)
NO_IMAGE_OF = Kind('warning', 'classes without an image in the split', 'they are not evaluated')
LEFT_OUT = Kind(
    'warning', 'images that OpenCV does not read', 'they are left out: convert them, to PNG say'
)
ALSO_READ = Kind(
    'note',
    'images that CustomDataset leaves out by default',
    'the config that is written names their suffix in extensions',
)
UNSORTED_FILES = Kind(
    'warning', 'images beside the folders', 'they belong to no class and are not used'
)
FEW = Kind(
    'note',
    'more than ten times as many training images of one class as of another',
    'ClassBalancedDataset, or class weights of the loss, make up for it',
)


@dataclass
class ClassSplit:
    """One split.

    Args:
        name (str): 'train', 'val' or 'test'.
        folder (Path): The folder of the folders of classes.
        images (dict[str, list[Path]]): Images of each class, by the folder's name, sorted.
        suffixes (Counter[str]): Files of the folders by suffix, in small letters.
    """

    name: str
    folder: Path
    images: dict[str, list[Path]]
    suffixes: Counter[str]

    @property
    def counts(self) -> Counter[str]:
        """Counter[str]: Images by class."""
        return Counter({name: len(images) for name, images in self.images.items()})


@dataclass
class ClassExport:
    """A data set of one folder a class as read from disk.

    Args:
        folder (Path): The data set folder.
        splits (dict[str, ClassSplit]): Its splits.
        classes (tuple[str, ...]): The names of the training folders, in the order of their labels.
        problems (Problems): Everything that was found.
    """

    folder: Path
    splits: dict[str, ClassSplit]
    classes: tuple[str, ...]
    problems: Problems

    @property
    def extensions(self) -> tuple[str, ...]:
        """tuple[str, ...]: What ``extensions`` has to be; empty where the default does."""
        more = {s for split in self.splits.values() for s in split.suffixes} & {*MORE_EXTENSIONS}
        return (*EXTENSIONS, *sorted(more)) if more else ()


def class_split(name: str, folder: Path, extensions: Sequence[str]) -> ClassSplit:
    """Read which images `CustomDataset` takes for which class.

    Args:
        name (str): 'train', 'val' or 'test'.
        folder (Path): The folder of the folders of classes.
        extensions (Sequence[str]): The suffixes that are taken, in small letters.

    Returns:
        ClassSplit: All folders, hidden and empty ones too.
    """
    images: dict[str, list[Path]] = {}
    suffixes: Counter[str] = Counter()
    for child in sorted(folder.iterdir(), key=lambda path: path.name):
        if child.is_dir():
            files = [child / name for name in files_below(child)]
            suffixes.update(p.suffix.lower() for p in files)
            images[child.name] = sorted(
                p for p in files if p.name.lower().endswith(tuple(extensions))
            )
    return ClassSplit(name, folder, images, suffixes)


def check_class_folders(splits: Mapping[str, ClassSplit], problems: Problems) -> None:
    """Find what would give a folder another number than it should have.

    Args:
        splits (Mapping[str, ClassSplit]): The splits; with the training split, the others are
            compared with it.
        problems (Problems): Takes what is found.
    """
    train = splits.get('train')
    for split in splits.values():
        file = f'{split.folder}{os.sep}'
        for folder, images in split.images.items():
            if folder[0] == '.' or folder == '__pycache__':
                problems.add(HIDDEN, file, folder)
            elif not images and (split is train or train is None or folder not in train.images):
                problems.add(EMPTY, file, folder)
            elif not images:
                problems.add(NO_IMAGE_OF, file, folder)
            elif train is not None and folder not in train.images:
                near = close_names(folder, train.images)
                problems.add(NEW_CLASS, file, folder + f'; did you mean {near[0]}?' * bool(near))
        for folder in train.images if train is not None and split is not train else ():
            if folder not in split.images:
                problems.add(LACKS_CLASS, file, folder)


def read_class_folders(
    folder: Path, splits: Sequence[str] = ('train', 'val', 'test')
) -> ClassExport:
    """Read and check a data set of one folder a class.

    Args:
        folder (Path): The data set folder.
        splits (Sequence[str]): The splits to read.

    Returns:
        ClassExport: What was found; its ``problems`` say whether it can be used.
    """
    problems = Problems()
    places = {name: path for name, path in find_class_folders(folder).items() if name in splits}
    taken = (*EXTENSIONS, *MORE_EXTENSIONS)
    found = {name: class_split(name, place, taken) for name, place in places.items()}
    if 'val' not in found:
        holds = ', '.join(sorted(p.name + '/' * p.is_dir() for p in folder.iterdir())[:8])
        problems.add(NO_SPLIT, f'{folder}, val split', f'the folder holds {holds}')
    check_class_folders(found, problems)
    for split in found.values():
        _check_files(split, problems)
    images = {name: sum(split.images.values(), []) for name, split in found.items()}
    # Files of different classes are often numbered alike.
    look_at_images(images, problems, by_name=False)
    counts = found['train'].counts
    least, most = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    if counts[most] > 10 * counts[least] > 0:
        text = f'{counts[most]:,} of {most}, {counts[least]:,} of {least}'
        problems.add(FEW, f'{found["train"].folder}{os.sep}', text)
    if 'val' in found and 'test' in splits and 'test' not in found and not problems.has_errors:
        problems.add(NO_TEST, str(folder))
    return ClassExport(folder, found, tuple(found['train'].images), problems)


def _check_files(split: ClassSplit, problems: Problems) -> None:
    """Report images that are left out, or would be."""
    file = f'{split.folder}{os.sep}'
    for suffix in UNREAD:
        if split.suffixes[suffix]:
            problems.add(LEFT_OUT, file, f'{split.suffixes[suffix]:,} {suffix}')
    for suffix in MORE_EXTENSIONS:
        if split.suffixes[suffix]:
            problems.add(ALSO_READ, file, f'{split.suffixes[suffix]:,} {suffix}')
    for path in sorted(split.folder.iterdir()):
        if path.is_file() and path.suffix.lower() in (*EXTENSIONS, *MORE_EXTENSIONS, *UNREAD):
            problems.add(UNSORTED_FILES, file, path.name)


def make_missing_folders(export: ClassExport) -> list[Path]:
    """Make the folders of classes that a split lacks.

    Args:
        export (ClassExport): The data set.

    Returns:
        list[Path]: Those that were made.
    """
    made = [
        split.folder / name
        for split in export.splits.values()
        for name in export.classes
        if name not in split.images
    ]
    for path in made:
        path.mkdir()
    return made
