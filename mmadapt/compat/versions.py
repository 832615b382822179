"""What is installed, judged on `import mmadapt` without importing any of it."""

import importlib.util
import platform
import re
import sys
import warnings
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import InvalidVersion, Version

# Name: lowest and highest version tried, of the stock package and of its maintained fork. Others
# are untested, not wrong.
TESTED = {
    'torch': (('2.11.0', '2.13.0'),),
    'mmengine': (('0.10.7', '0.10.12'),),
    'mmcv': (('2.1.0', '2.1.0'), ('2.3.6', '2.3.6')),
    'mmdet': (('3.3.0', '3.3.0'), ('3.5.1', '3.5.1')),
}
# Below these, functions that mmadapt uses are not there.
REQUIRED = {
    'torch': ('2.6', 'install a newer one for your CUDA: pip install -U torch torchvision'),
    'mmengine': ('0.10.0', "pip install 'mmengine>=0.10.0,<1.0.0'"),
}
MISSING = {
    'torch': 'install it for your CUDA: pip install torch torchvision',
    'mmengine': "pip install 'mmengine>=0.10.0,<1.0.0'",
}
# The maintained fork of each, which brings a module of the same name.
FORKS = {'mmengine': 'onedl-mmengine', 'mmcv': 'onedl-mmcv', 'mmdet': 'onedl-mmdetection'}
# MMPretrain up to this version reads names that transformers has no more: from the first of these
# versions on its own models cannot be imported, from the second on MMDetection's neither.
LAST_MMPRETRAIN = '1.2.0'
NO_MMPRETRAIN, NO_MMDET = '4.52', '4.56'
COMPILE_MMCV = (
    "pip install 'setuptools<81' ninja psutil, then MMCV_WITH_OPS=1 pip install "
    '--no-build-isolation --no-cache-dir mmcv==2.1.0 (it compiles for some minutes)'
)


def check_environment() -> list[str]:
    """Checks that the installed packages can work together.

    Only the packages' metadata is read: nothing heavy is imported.

    Returns:
        list[str]: What is untested or will fail in part, one line each; each was also warned of.

    Raises:
        ImportError: mmadapt cannot work at all with what is installed; the message is one line for
            each thing wrong, with what mends it.
    """
    versions = {name: installed_version(name) for name in (*TESTED, 'torchvision')}
    beside = transformers_too_new()
    wrong = [*unusable(versions), *refused_mmcv(versions)]
    if wrong:
        raise ImportError('\n'.join(wrong))
    doubtful = [
        *installed_twice(),
        *incomplete(versions),
        *torchvision_mismatch(versions),
        *([beside] if beside else []),
        *untested(versions),
    ]
    for line in doubtful:
        # Points at the user's `import mmadapt`; Python shows the same line once.
        warnings.warn(f'mmadapt: {line}', stacklevel=3)
    return doubtful


def installed_version(name: str) -> str | None:
    """Return the version of an installed package; None when it is not there.

    Args:
        name (str): Its module. A maintained fork brings it in a distribution of another name.
    """
    owner = installed_distribution(name)
    return None if owner is None else metadata.version(owner)


def installed_distribution(name: str) -> str | None:
    """Return what pip calls an installed package, of which a fork has another name than its module.

    Args:
        name (str): Its module, or what pip calls it where no fork brings it.
    """
    if _distribution(name) is not None:
        return name
    owners = metadata.packages_distributions().get(name)
    return owners[0] if owners else None


def _distribution(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def installed_twice() -> list[str]:
    """Return one line for each package over which its fork was installed, or the other way round.

    Whichever came last is imported, and which that was no metadata says.
    """
    return [
        f'{name} and {fork} are both installed, and bring the same files: pip uninstall -y {name} '
        f'{fork}, then install one of them'
        for name, fork in FORKS.items()
        if _distribution(name) and _distribution(fork)
    ]


def parsed(version: str) -> Version:
    """`2.11.0+cu130` -> `2.11.0`; 0 for what is not a version."""
    try:
        return Version(Version(version).public)
    except InvalidVersion:
        return Version('0')


def unusable(versions: dict[str, str | None]) -> list[str]:
    """Return one line for each package without which nothing works."""
    lines = []
    for name, remedy in MISSING.items():
        version, (lowest, upgrade) = versions[name], REQUIRED[name]
        if version is None:
            lines.append(f'mmadapt needs {name}, which is not installed: {remedy}')
        elif parsed(version) < Version(lowest):
            lines.append(
                f'mmadapt needs {name} {lowest} or newer, {version} is installed: {upgrade}'
            )
    return lines


def refused_mmcv(versions: dict[str, str | None]) -> list[str]:
    """One line when the installed MMDetection raises on import because of mmcv's version."""
    mmcv, mmdet, limits = versions['mmcv'], versions['mmdet'], mmcv_limits()
    if mmcv is None or mmdet is None or limits is None:
        return []
    lowest, end = limits
    if parsed(lowest) <= parsed(mmcv) < parsed(end):
        return []
    return [
        f'mmdet {mmdet} refuses mmcv {mmcv} (it takes {lowest} up to, but '
        f'not, {end}): pip uninstall mmcv, then {COMPILE_MMCV}'
    ]


def mmcv_limits() -> tuple[str, str] | None:
    """The range of mmcv that the installed MMDetection asserts, read from its source.

    Its metadata would not do: many an installation has had these very lines edited.

    Returns:
        tuple[str, str] | None: Lowest version and the first that is too new; None when it is not
        installed or asserts nothing.
    """
    spec = importlib.util.find_spec('mmdet')
    if spec is None or spec.origin is None:
        return None
    source = Path(spec.origin).read_text(encoding='utf-8')
    lowest, end = (
        re.search(rf"^mmcv_{name}_version = '([^']+)'", source, re.M)
        for name in ('minimum', 'maximum')
    )
    return (lowest[1], end[1]) if lowest and end else None


def incomplete(versions: dict[str, str | None]) -> list[str]:
    """One line when detectors cannot be built; other models can."""
    if versions['mmcv'] is not None:
        return []
    lite = installed_version('mmcv-lite')
    if lite is not None:
        return [
            f'mmcv-lite {lite} has no operators, which MMDetection needs: pip uninstall mmcv-lite, '
            f'then {COMPILE_MMCV}'
        ]
    return [f'mmcv is not installed, which every OpenMMLab model library needs: {COMPILE_MMCV}']


def torchvision_mismatch(versions: dict[str, str | None]) -> list[str]:
    """One line when torchvision was made for another torch, so that importing it fails."""
    torch, torchvision = versions['torch'], versions['torchvision']
    if torch is None or torchvision is None:
        return []
    remedy = 'install both from one index: pip install -U --force-reinstall torch torchvision'
    needs = [Requirement(line) for line in metadata.requires('torchvision') or ()]
    wanted = next((need for need in needs if need.name == 'torch' and need.marker is None), None)
    if wanted and not wanted.specifier.contains(parsed(torch), prereleases=True):
        return [
            f'torchvision {torchvision} asks for {wanted}, torch {torch} is installed: {remedy}'
        ]
    # The registry's torchvision is a CUDA build on this platform, the only one with CUDA there.
    has_cuda = sys.platform == 'linux' and platform.machine() == 'x86_64'
    if torch.endswith('+cpu') and not torchvision.endswith('+cpu') and has_cuda:
        return [
            f'torch {torch} has no CUDA but torchvision {torchvision} was built for a torch that '
            f'has, and cannot be imported (torchvision::nms does not exist): {remedy}'
        ]
    return []


def transformers_too_new(for_detectors: bool = False) -> str | None:
    """Return one line when MMPretrain cannot be imported beside the installed transformers.

    Args:
        for_detectors (bool): Only when MMDetection's models, which import it where it is there,
            cannot be either. Defaults to False.
    """
    mmpretrain, transformers = map(installed_version, ('mmpretrain', 'transformers'))
    if mmpretrain is None or transformers is None or parsed(mmpretrain) > Version(LAST_MMPRETRAIN):
        return None
    first = (
        NO_MMDET if for_detectors or parsed(transformers) >= Version(NO_MMDET) else NO_MMPRETRAIN
    )
    if parsed(transformers) < Version(first):
        return None
    what = (
        'its models and, through it, those of MMDetection and MMSegmentation'
        if first == NO_MMDET
        else 'its models'
    )
    return (
        f'mmpretrain {mmpretrain} does not fit transformers {transformers}: {what} cannot be '
        f"imported; pip install 'transformers<{NO_MMPRETRAIN}', or pip uninstall mmpretrain"
    )


def tried(name: str) -> str:
    """Return the versions of a package that mmadapt was tried with, for a sentence."""
    ranges = (low if low == high else f'{low} to {high}' for low, high in TESTED[name])
    return ' or '.join(ranges)


def untested(versions: dict[str, str | None]) -> list[str]:
    """Return one line for each package of a version that mmadapt was never tried with."""
    lines = []
    for name, ranges in TESTED.items():
        version = versions[name]
        if version is None:
            continue
        if not any(Version(low) <= parsed(version) <= Version(high) for low, high in ranges):
            lines.append(f'{name} {version} is untested, tried was {tried(name)}')
    return lines
