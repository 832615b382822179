"""Metadata of the package; `make env` makes a complete environment around it."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
EXTRAS = (
    'openmmlab',
    'pose',
    'seg',
    'cls',
    'text',
    'formats',
    'deepspeed',
    'fairscale',
    'quant',
    'mim',
    'docs',
    'dev',
)


def requirements(name):
    """The requirement lines of mmadapt/requirements/<name>.txt."""
    lines = (ROOT / 'mmadapt' / 'requirements' / f'{name}.txt').read_text().splitlines()
    return [line for line in (line.split('#')[0].strip() for line in lines) if line]


setup(
    name='mmadapt',
    version=re.search(r"= '(.+)'", (ROOT / 'mmadapt' / 'version.py').read_text())[1],
    description='Parameter-efficient fine-tuning of OpenMMLab models, as an MMEngine plugin',
    long_description=(ROOT / 'README.md').read_text() if (ROOT / 'README.md').is_file() else '',
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    # Named although it is the default: an editable installation is then a path, before which a
    # folder `mmadapt` without the package in it, such as that of a clone, does not come.
    package_dir={'': '.'},
    packages=find_packages(include=['mmadapt', 'mmadapt.*']),
    py_modules=['mmadapt_command'],
    package_data={
        'mmadapt': [
            'configs/**/*.py',
            'requirements/*.txt',
            '.mim/*.yml',
            '.mim/tools/*.py',
            'py.typed',
        ]
    },
    entry_points=dict(console_scripts=['mmadapt = mmadapt_command:main']),
    python_requires='>=3.10,<3.13',
    # torch and mmcv are not named: each is bound to the machine's CUDA, and pip would replace them.
    install_requires=requirements('runtime'),
    extras_require={name: requirements(name) for name in EXTRAS},
)
