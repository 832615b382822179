"""Images to look at: files, folders and videos."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ..datasets.image_checks import IMAGE_SUFFIXES, oriented_size
from ..errors import UserError
from ..values import close_names

VIDEO_SUFFIXES = {'.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v'}


@dataclass
class Frame:
    """One image.

    Args:
        name (str): What it is called in results and drawings: a path below the folder that was
            named, or the video's name and the number of the frame.
        path (str): The file.
        image (np.ndarray, optional): Its pixels, uint8 of shape (H, W, 3) in BGR, where they do not
            come from a file of its own.
    """

    name: str
    path: str
    image: np.ndarray | None = None

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
    """

    path: str
    frames: int
    rate: float

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
        reader, stem = cv2.VideoCapture(self.path), Path(self.path).stem
        try:
            number = 0
            while True:
                there, image = reader.read()
                if not there:
                    return
                yield Frame(f'{stem}/{number:06}', self.path, image)
                number += 1
        finally:
            reader.release()


def find_images(places: Sequence[str]) -> tuple[list[Frame], list[Video]]:
    """Find what was named: images, folders of images, and videos.

    Args:
        places (Sequence[str]): Files and folders; a folder is looked through with those in it.

    Returns:
        tuple[list[Frame], list[Video]]: Images by name, and videos.

    Raises:
        UserError: A place is not there, is neither image nor video, or has no image in it.
    """
    frames, videos = [], []
    for place in places:
        path = Path(place)
        if path.is_dir():
            files = [p for p in sorted(path.rglob('*')) if p.suffix.lower() in IMAGE_SUFFIXES]
            if not files:
                raise UserError(f'{place} has no image in it ({", ".join(sorted(IMAGE_SUFFIXES))})')
            frames += [Frame(p.relative_to(path).as_posix(), str(p)) for p in files]
        elif not path.is_file():
            names = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
            near = close_names(path.name, names)
            hint = f'; nearest: {path.parent / near[0]}' if near else ''
            raise UserError(f'there is no image or folder {place}{hint}')
        elif path.suffix.lower() in VIDEO_SUFFIXES:
            videos.append(Video.open(place))
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            frames.append(Frame(path.name, place))
        else:
            raise UserError(
                f'{place} is neither an image ({", ".join(sorted(IMAGE_SUFFIXES))}) nor a video '
                f'({", ".join(sorted(VIDEO_SUFFIXES))})'
            )
    return _with_own_names(frames), videos


def why_unreadable(path: str) -> str | None:
    """Return why an image file cannot be read to its end; None if it can.

    Args:
        path (str): The file.
    """
    try:
        with Image.open(path) as image:
            image.load()
    except Exception as error:  # each decoder has its own kinds
        return str(error).replace(repr(path), 'it')
    return None


def _with_own_names(frames: list[Frame]) -> list[Frame]:
    """Give images of the same name from several folders their whole path for a name."""
    counts = Counter(frame.name for frame in frames)
    for frame in frames:
        if counts[frame.name] > 1:
            frame.name = Path(frame.path).as_posix().lstrip('/').replace('../', '')
    return frames
