"""Images to look at: files, folders and videos."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os.path import abspath
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ..datasets.image_checks import IMAGE_SUFFIXES, oriented_size
from ..errors import UserError
from ..values import close_names
from .names import names_of_file, told_apart, without_suffix

VIDEO_SUFFIXES = {'.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v'}
_DRAWN_SUFFIXES = {'.jpg', '.jpeg', '.png'}


@dataclass
class Frame:
    """One image.

    Args:
        name (str): What it is called in results and drawings: a path below the folder that was
            named, or the video's name and the number of the frame.
        path (str): The file.
        image (np.ndarray, optional): Its pixels, uint8 of shape (H, W, 3) in BGR, where they do not
            come from a file of its own.
        stem (str): What files about it are called, without a suffix. Defaults to its name without
            one.
        drawing (str): What its drawing is called. Defaults to its name, with the suffix of a format
            that drawings are written in.
    """

    name: str
    path: str
    image: np.ndarray | None = None
    stem: str = ''
    drawing: str = ''

    def __post_init__(self) -> None:
        self.stem = self.stem or without_suffix(self.name)
        self.drawing = self.drawing or _drawing_names(self.name, self.stem)[0]

    @property
    def size(self) -> tuple[int, int]:
        """tuple[int, int]: Width and height in pixels, after the orientation tag."""
        if self.image is not None:
            return self.image.shape[1], self.image.shape[0]
        with Image.open(self.path) as image:
            return oriented_size(image)


@dataclass
class Video:
    """A video file.

    Args:
        path (str): The file.
        frames (int): How many frames it says it has.
        rate (float): Frames a second.
        name (str): What it is called in results and drawings. Defaults to the file's name without
            its suffix.
    """

    path: str
    frames: int
    rate: float
    name: str = ''

    def __post_init__(self) -> None:
        self.name = self.name or Path(self.path).stem

    @classmethod
    def open(cls, path: str) -> 'Video':
        """Look at a video.

        Args:
            path (str): The file.

        Returns:
            Video: What it says of itself.

        Raises:
            UserError: It cannot be opened, or has no frame.
        """
        reader = cv2.VideoCapture(path)
        try:
            frames, rate = reader.get(cv2.CAP_PROP_FRAME_COUNT), reader.get(cv2.CAP_PROP_FPS)
            if not reader.isOpened() or not reader.read()[0]:
                raise UserError(
                    f'{path} cannot be read as a video by OpenCV: it is damaged or of a codec '
                    'that is missing; ffmpeg -i FILE -c:v libx264 OUT.mp4 makes one that is there'
                )
        finally:
            reader.release()
        return cls(path, max(int(frames), 0), rate or 25.0)

    def __iter__(self) -> Iterator[Frame]:
        """Yield its frames, one after the other."""
        reader = cv2.VideoCapture(self.path)
        try:
            number = 0
            while True:
                there, image = reader.read()
                if not there:
                    return
                name = f'{self.name}/{number:06}'
                yield Frame(name, self.path, image, stem=name)
                number += 1
        finally:
            reader.release()

    def why_short(self, seen: int) -> str | None:
        """Return that it breaks off, if it does.

        Many a container knows its number of frames from its duration alone, so that one frame, or
        one of a hundred, says nothing.

        Args:
            seen (int): How many frames could be read.
        """
        if self.frames - seen <= max(1, self.frames // 100):
            return None
        return (
            f'ends after {seen} of the {self.frames} frames that it says it has: what follows is '
            'damaged or missing'
        )


def find_images(places: Sequence[str]) -> tuple[list[Frame], list[Video]]:
    """Find what was named: images, folders of images, and videos.

    Args:
        places (Sequence[str]): Files and folders; a folder is looked through with those in it.

    Returns:
        tuple[list[Frame], list[Video]]: Images by name, and videos.

    Raises:
        UserError: A place is not there, is neither image nor video, or has no image in it.
    """
    # By its place: one that is named twice is looked at once. Not by the file that it links to: in
    # the folders of DVC and git-annex, two names of equal images link to one.
    images: dict[str, Frame] = {}
    videos: dict[str, Video] = {}
    for place in places:
        path = Path(place)
        if path.is_dir():
            files = [p for p in sorted(path.rglob('*')) if p.suffix.lower() in IMAGE_SUFFIXES]
            if not files:
                raise UserError(f'{place} has no image in it ({", ".join(sorted(IMAGE_SUFFIXES))})')
            for file in files:
                name = file.relative_to(path).as_posix()
                images.setdefault(abspath(file), Frame(name, str(file)))
        elif not path.is_file():
            names = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
            near = close_names(path.name, names)
            hint = f'; nearest: {path.parent / near[0]}' if near else ''
            raise UserError(f'there is no image or folder {place}{hint}')
        elif path.suffix.lower() in VIDEO_SUFFIXES:
            videos.setdefault(abspath(path), Video.open(place))
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            images.setdefault(abspath(path), Frame(path.name, place))
        else:
            raise UserError(
                f'{place} is neither an image ({", ".join(sorted(IMAGE_SUFFIXES))}) nor a video '
                f'({", ".join(sorted(VIDEO_SUFFIXES))})'
            )
    frames, clips = [*images.values()], [*videos.values()]
    _name_apart(frames, clips)
    return frames, clips


def why_unreadable(path: str) -> str | None:
    """Return why an image file cannot be read to its end; None if it can.

    Args:
        path (str): The file.
    """
    try:
        with Image.open(path) as image:
            image.load()
    except Exception as error:  # each decoder has its own kinds
        return ' '.join(str(error).replace(repr(path), '').split())
    return None


def _drawing_names(name: str, stem: str) -> list[str]:
    """Return what an image's drawing may be called: no two images have one stem."""
    suffix = Path(name).suffix
    drawn = suffix.lower() in _DRAWN_SUFFIXES
    return [name, stem + suffix] if drawn else [f'{stem}.jpg']


def _name_apart(frames: list[Frame], videos: list[Video]) -> None:
    """Give each image and video a name of its own, and no file about one the name of another's."""
    names = told_apart([names_of_file(frame.path, frame.name) for frame in frames])
    stems = told_apart([(without_suffix(name), name) for name in names])
    drawings = told_apart([_drawing_names(*each) for each in zip(names, stems, strict=True)])
    for frame, name, stem, drawing in zip(frames, names, stems, drawings, strict=True):
        frame.name, frame.stem, frame.drawing = name, stem, drawing
    candidates = []
    for video in videos:
        names = names_of_file(video.path, video.name, Path(video.path).name)
        # Its frames are called as if they were images in a folder of its name.
        free = [name for name in names if not any(stem.startswith(f'{name}/') for stem in stems)]
        candidates.append(free or names[-1:])
    for video, name in zip(videos, told_apart(candidates), strict=True):
        video.name = name
