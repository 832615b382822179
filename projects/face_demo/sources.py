"""The real images that the scenes are composed of: those scikit-image ships inside its wheel.

Everything is cut in two before anything is composed: the training scenes take from one part, the
validation scenes from the other. Faces are split by crop, images by their left 70% and right 30%,
so no pixel of a validation scene has been seen in a training scene.
"""

import cv2
import numpy as np
from skimage import data

SPLITS = ('train', 'validation')

# `lfw_subset` calls its last hundred crops non-faces, but these show a face or a part of one: as
# unlabeled distractors they would punish a detector for being right.
_NON_FACES_THAT_SHOW_A_FACE = frozenset((124, 125, 126, 127, 130, 142, 155, 180, 193, 196))

_TEXTURES = {
    'brick': data.brick,
    'grass': data.grass,
    'gravel': data.gravel,
    'moon': data.moon,
    'hubble': data.hubble_deep_field,
}
_OTHER_OBJECTS = {
    'coins': data.coins,
    'page': data.page,
    'text': data.text,
}


def _check_split(split: str) -> None:
    if split not in SPLITS:
        raise ValueError(f'split is {split!r}, but it has to be one of {", ".join(SPLITS)}')


def _as_rgb(image: np.ndarray) -> np.ndarray:
    """Any 8-bit image as float RGB in [0, 1]."""
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=2)
    return image[..., :3].astype(np.float32) / 255


def _part(image: np.ndarray, split: str) -> np.ndarray:
    cut = int(image.shape[1] * 0.7)
    return image[:, :cut] if split == 'train' else image[:, cut:]


def face_crops(split: str) -> dict[int, np.ndarray]:
    """The faces of one split.

    Args:
        split (str): 'train' (75 crops) or 'validation' (25 crops).

    Returns:
        dict[int, np.ndarray]: index in ``lfw_subset`` -> gray crop, (25, 25), float32 in [0, 1].
    """
    _check_split(split)
    crops = data.lfw_subset()[:100].astype(np.float32)
    return {i: crop for i, crop in enumerate(crops) if (i % 4 == 3) == (split == 'validation')}


def non_face_crops(split: str) -> dict[int, np.ndarray]:
    """The crops of ``lfw_subset`` without a face that show something, of one split.

    Args:
        split (str): 'train' or 'validation'.

    Returns:
        dict[int, np.ndarray]: index in ``lfw_subset`` -> gray crop, (25, 25), float32 in [0, 1].
    """
    _check_split(split)
    crops = {}
    for index, crop in enumerate(data.lfw_subset()[100:].astype(np.float32), start=100):
        is_blank = crop.std() < 0.06
        in_split = (index % 4 == 3) == (split == 'validation')
        if in_split and not is_blank and index not in _NON_FACES_THAT_SHOW_A_FACE:
            crops[index] = crop
    return crops


def textures(split: str) -> dict[str, np.ndarray]:
    """Backgrounds of one split, none of which shows a face.

    Args:
        split (str): 'train' or 'validation'.

    Returns:
        dict[str, np.ndarray]: name -> RGB image, (H, W, 3), float32 in [0, 1].
    """
    _check_split(split)
    return {name: _part(_as_rgb(load()), split) for name, load in _TEXTURES.items()}


def other_objects(split: str) -> dict[str, np.ndarray]:
    """Images of other things, of one split, to cut distractors from.

    Args:
        split (str): 'train' or 'validation'.

    Returns:
        dict[str, np.ndarray]: name -> RGB image, (H, W, 3), float32 in [0, 1].
    """
    _check_split(split)
    return {name: _part(_as_rgb(load()), split) for name, load in _OTHER_OBJECTS.items()}


def _shrink(image: np.ndarray, longest: int = 96) -> np.ndarray:
    scale = longest / max(image.shape[:2])
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def base_objects() -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
    """What the demo's own base learns: five things, none a human face, none in the face scenes.

    Returns:
        dict: category -> (RGB image (H, W, 3), float32 in [0, 1]; its mask (H, W) in [0, 1], or
        None where the object fills the image). The longest side is 96 px.
    """

    def disc(image):
        height, width = image.shape[:2]
        mask = np.zeros((height, width), np.float32)
        axes = (int(width * 0.48), int(height * 0.48))
        return cv2.ellipse(mask, (width // 2, height // 2), axes, 0, 0, 360, 1.0, cv2.FILLED)

    coffee, motorcycle = data.coffee(), data.stereo_motorcycle()[0]
    logo, horse = data.logo(), data.horse()
    whole = {
        'cat': (data.chelsea()[10:290, 90:420], None),
        'cup': (coffee[5:385, 150:520], disc(coffee[5:385, 150:520])),
        'motorcycle': (motorcycle[110:440, 120:640], None),
        'horse': ((255 * horse).astype(np.uint8), (~horse).astype(np.float32)),
        'logo': (logo, disc(logo)),
    }
    return {
        name: (_shrink(_as_rgb(image)), None if mask is None else _shrink(mask))
        for name, (image, mask) in whole.items()
    }
