"""Show the versions that a report of a fault needs, and what importing mmadapt changes.

Examples:
    mmadapt env
"""

import argparse
import platform
import textwrap
import warnings

from mmengine.utils.dl_utils import collect_env

from ..cli.arguments import make_parser
from ..compat import CHANGES, check_environment
from ..compat.versions import TESTED, installed_version, tried
from ..config_files import CONFIGS
from ..version import __version__

_OTHERS = (
    'torchvision',
    'numpy',
    'safetensors',
    'mmpose',
    'mmsegmentation',
    'mmpretrain',
    'timm',
    'transformers',
    'peft',
    'bitsandbytes',
    'deepspeed',
    'fairscale',
)


def parse_args(arguments: list[str]) -> argparse.Namespace:
    """Read what was typed behind the subcommand; ``--help`` and mistakes end the process."""
    return make_parser('env', __doc__).parse_args(arguments)


def main(arguments: list[str]) -> None:
    """Run the subcommand."""
    parse_args(arguments)
    print(f'mmadapt {__version__}, its configs in {CONFIGS}')
    print(f'Python {platform.python_version()}, {platform.platform()}')
    for name in TESTED:
        print(f'{name} {installed_version(name) or "not installed"} (tested: {tried(name)})')
    others = {name: installed_version(name) for name in _OTHERS}
    print('beside it:', ', '.join(f'{name} {at}' for name, at in others.items() if at))
    print('GPUs:', _gpus())
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # printed here
        for line in check_environment():
            print(f'- {line}')
    print('\nWhat `import mmadapt` changes of other packages:')
    for change in CHANGES:
        print(f'\n{", ".join(change.where)} ({change.versions})')
        print(textwrap.indent(textwrap.fill(change.reason, 96), '    '))


def _gpus() -> str:
    found = collect_env()
    names = [f'{value} ({key})' for key, value in found.items() if key.startswith('GPU ')]
    return ', '.join(names) or 'none'
