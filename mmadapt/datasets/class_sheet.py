"""Which training images of a data set of one folder a class are looked at."""

from dataclasses import replace

from .class_folders import ClassExport
from .marks import Marks
from .sheets import COUNT, MOST, Sheet, spaced, written_names

# A sheet of more is too high for a JPEG file, and for anyone.
MOST_CLASSES = 1000
_SMALL = 130


def class_sheet(export: ClassExport) -> Sheet:
    """Choose training images of every class, as many of each and from all of its folder.

    Args:
        export (ClassExport): The data set as read.

    Returns:
        Sheet: With the class and the file's name below each image.
    """
    split = export.splits['train']
    classes = spaced([name for name, images in split.images.items() if images], MOST_CLASSES)
    each = -(-COUNT // max(len(classes), 1))
    written = dict(zip(export.classes, written_names(export.classes), strict=True))
    images = [
        (
            path,
            Marks(caption=f'{written[name]}\n{path.relative_to(split.folder / name).as_posix()}'),
        )
        for name in classes
        for path in spaced(split.images[name], each)
    ]
    sheet = Sheet(images, split.counts.total(), len(classes), export.classes)
    return replace(sheet, row_height=_SMALL) if len(images) > MOST else sheet
