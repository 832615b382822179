"""The optional packages, and the commands by which pip brings each of them.

Only the standard library is imported: `make env` reads this file before anything is installed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

REQUIREMENTS = Path(__file__).parent / 'requirements'


@dataclass(frozen=True)
class Extra:
    """What an extra is for, and what can be imported once it is there.

    Args:
        brings (str): The packages, as a person calls them.
        modules (tuple[str, ...]): Modules that import; the first ones name the packages.
    """

    brings: str
    modules: tuple[str, ...]


EXTRAS = {
    'openmmlab': Extra('MMEngine and MMDetection', ('mmengine', 'mmdet')),
    'pose': Extra(
        'MMPose, with xtcocotools built for the installed numpy, and Albumentations below 2',
        ('mmpose', 'xtcocotools', 'albumentations', 'mmpose.datasets', 'xtcocotools.mask'),
    ),
    'seg': Extra('MMSegmentation', ('mmseg', 'mmseg.models')),
    'cls': Extra('MMPretrain and timm', ('mmpretrain', 'timm', 'mmpretrain.models')),
    'text': Extra(
        'transformers, for the language models of detectors such as MM Grounding DINO',
        ('transformers', 'huggingface_hub'),
    ),
    'formats': Extra(
        'globox, for labels in YOLO, Pascal VOC, CVAT and LabelMe format', ('globox',)
    ),
    'quant': Extra('bitsandbytes, for bases in 4 and 8 bits', ('bitsandbytes',)),
    'deepspeed': Extra('DeepSpeed', ('deepspeed',)),
    'fairscale': Extra('fairscale', ('fairscale',)),
    'mim': Extra("OpenMMLab's mim", ('mim',)),
}


def requirement_files(extra: str, folder: Path = REQUIREMENTS) -> list[Path]:
    """Return the requirement files of an extra: as usual, without dependencies, from source.

    Args:
        extra (str): Its name.
        folder (Path): Where requirement files are. Defaults to those of this package.
    """
    paths = [folder / f'{extra}{kind}.txt' for kind in ('', '.nodeps', '.source')]
    return [path for path in paths if path.is_file()]


def pip_arguments(
    extra: str, constraints: Sequence[Path], folder: Path = REQUIREMENTS
) -> list[list[str]]:
    """Return what follows `pip install` in each of the commands that bring an extra, in order.

    Args:
        extra (str): Its name.
        constraints (Sequence[Path]): Files that say which versions must not be moved.
        folder (Path): Where requirement files are. Defaults to those of this package.

    Returns:
        list[list[str]]: Arguments of pip, one list a command.
    """
    pins = [word for path in constraints for word in ('-c', str(path))]
    commands = []
    for path in requirement_files(extra, folder):
        if path.name.endswith('.nodeps.txt'):
            options = ['--no-deps']
        elif path.name.endswith('.source.txt'):
            # Built against the installed numpy; pip's cache would hand an older build out.
            options = ['--no-deps', '--no-build-isolation', '--no-cache-dir', '--no-binary=:all:']
        else:
            # What has no wheel is built with the torch that is there.
            options = ['--no-build-isolation', *pins]
        commands.append([*options, '-r', str(path)])
    return commands


def remedy(module: str) -> str:
    """Return what installs a module that is missing, for the end of a message.

    Args:
        module (str): Its name, such as ``'mmpose.models'``.

    Returns:
        str: ``': mmadapt install pose'``, or nothing where no extra brings it.
    """
    package = module.partition('.')[0]
    for name, extra in EXTRAS.items():
        if any(package == each.partition('.')[0] for each in extra.modules):
            return f': mmadapt install {name}'
    return ''
