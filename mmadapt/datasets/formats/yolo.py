"""YOLO: a text file an image, a line an object, in the layouts of Ultralytics, Roboflow and CVAT.

Which file has an image's labels, and that an image without one shows none of the objects, is as
Ultralytics has it (``img2label_paths``, ``verify_image_label``).
"""

from functools import partial
from pathlib import Path
from typing import Any

from ..problems import Kind, Problems
from .labeled import (
    BAD_LABEL,
    NO_IMAGE,
    UNREADABLE,
    UNSPLIT,
    LabeledFolder,
    LabeledImage,
    LabeledObject,
    box_parser,
    image_size,
    images_in,
    parse,
)
from .yolo_names import Names, read_names
from .yolo_splits import find_images

FORMAT = 'YOLO'
SPLITTING = 'name train and val in data.yaml, or make folders images/train and images/val'

NOT_RELATIVE = Kind(
    'error',
    'coordinates that are no shares of the image, from 0 to 1',
    'they look like pixels: write them as shares of its width and height',
)
NO_SUCH_CLASS = Kind(
    'error', 'class numbers without a name', 'add the names, or correct the numbers'
)
BACKGROUND = Kind(
    'note',
    'images without a label file',
    'they are listed without boxes, as Ultralytics takes them; label them or take them out if they '
    'show any of the objects',
)
KEYPOINTS = Kind('note', 'objects with keypoints', 'their boxes were written, not their keypoints')


def recognize(folder: Path) -> Names | None:
    """Return what a folder says of its classes and splits; None where it is not in this format."""
    names = read_names(folder)
    if names is not None and names.splits:
        return names
    labels = [*folder.glob('labels'), *folder.glob('*/labels')]
    if any(next(place.rglob('*.txt'), None) for place in labels):
        return names or Names(None, '')
    beside = names is not None and any(i.with_suffix('.txt').is_file() for i in images_in(folder))
    return names if beside else None


def read(folder: Path, names: Names, wanted: tuple[str, ...], problems: Problems) -> LabeledFolder:
    """Read a folder.

    Args:
        folder (Path): The data set folder.
        names (Names): What :func:`recognize` found.
        wanted (tuple[str, ...]): The splits to read.
        problems (Problems): Takes what is wrong.

    Returns:
        LabeledFolder: What was labeled.

    Raises:
        UserError: The classes have no names, or globox is not installed.
    """
    classes = names.checked(folder)
    places = find_images(folder, names, problems)
    reader = _Reader(box_parser(folder, FORMAT), folder, classes, names.keypoint_values, problems)
    splits = {
        split: [image for image in map(reader.read_image, images) if image]
        for split, images in places.items()
        if split in wanted or split == UNSPLIT
    }
    reader.report_alone([image for images in places.values() for image in images])
    return LabeledFolder(FORMAT, splits, tuple(classes.values()), names.source)


class _Reader:
    """Reads label files.

    Args:
        parser (Any): globox's BoundingBox.
        folder (Path): The data set folder.
        classes (dict[int, str]): Names by class number.
        keypoint_values (int): How many numbers of keypoints follow a box.
        problems (Problems): Takes what is wrong.
    """

    def __init__(
        self,
        parser: Any,
        folder: Path,
        classes: dict[int, str],
        keypoint_values: int,
        problems: Problems,
    ) -> None:
        self.parser, self.folder, self.classes = parser, folder, classes
        self.keypoint_values, self.problems = keypoint_values, problems

    def label_file(self, image: Path) -> Path:
        """Return where an image's labels are: the last `images` of its path below is `labels`."""
        parts = list(image.relative_to(self.folder).parts)
        if 'images' in parts[:-1]:
            parts[len(parts) - 1 - parts[::-1].index('images')] = 'labels'
        return (self.folder / Path(*parts)).with_suffix('.txt')

    def read_image(self, path: Path) -> LabeledImage | None:
        """Return an image with its objects, None after reporting what cannot be read."""
        size, file = image_size(path, self.problems), self.label_file(path)
        if size is None:
            return None
        if not file.is_file():
            self.problems.add(BACKGROUND, str(path.parent), path.name)
            return LabeledImage(path, size, [])
        try:
            lines = file.read_text(encoding='utf-8-sig').splitlines()
        except (OSError, UnicodeDecodeError) as error:
            self.problems.add(UNREADABLE, str(file), str(error))
            return None
        # globox takes an empty line for a mistake.
        rows = [
            (number, line.split()) for number, line in enumerate(lines, start=1) if line.strip()
        ]
        found = [self.read_row(words, size, number, file) for number, words in rows]
        return LabeledImage(path, size, [each for each in found if each])

    def read_row(
        self, words: list[str], size: tuple[int, int], number: int, file: Path
    ) -> LabeledObject | None:
        """Return the object of a line: a class number, then a box or a polygon."""
        if self.keypoint_values and len(words) == 5 + self.keypoint_values:
            self.problems.add(KEYPOINTS, str(file.parent))
            words = words[:5]
        add = partial(self.problems.add, file=str(file))
        said = f'line {number}: {" ".join(words[:9])}{" ..." * (len(words) > 9)}'
        try:
            label, values = float(words[0]), [float(word) for word in words[1:]]
        except ValueError:
            add(BAD_LABEL, detail=said)
            return None
        is_box = len(values) == 4
        if not is_box and (len(values) < 6 or len(values) % 2):
            # Six are a box with a confidence: what a model has found, not what is there.
            add(BAD_LABEL, detail=f'{said}; a box is 5 numbers, a polygon 7, 9, 11, ...')
        elif label not in self.classes:
            add(NO_SUCH_CLASS, detail=f'{said}; there are {len(self.classes)} names')
        elif not all(-0.01 <= value <= 1.01 for value in values):
            # As much over the edge as Ultralytics allows.
            add(NOT_RELATIVE, detail=said)
        else:
            read = self.parser.from_yolo_v5 if is_box else self.parser.from_yolo_seg
            box = parse(partial(read, ' '.join(words), image_size=size), said, file, self.problems)
            polygon = [value * size[place % 2] for place, value in enumerate(values)]
            return box and LabeledObject(
                self.classes[int(label)], box.ltrb, [] if is_box else [polygon]
            )
        return None

    def report_alone(self, images: list[Path]) -> None:
        """Report label files that have no image."""
        known = {self.label_file(image) for image in images}
        for folder in sorted({path.parent for path in known if 'labels' in path.parts}):
            place = [
                ('images' if p == 'labels' else p) for p in folder.relative_to(self.folder).parts
            ]
            stems = {path.stem for path in images_in(self.folder.joinpath(*place))}
            for path in sorted(folder.glob('*.txt')):
                if path.stem not in {*stems, 'classes', 'notes'}:
                    self.problems.add(NO_IMAGE, str(folder), path.name)
