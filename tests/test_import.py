"""What ``import mmadapt`` costs."""

import subprocess
import sys

OPTIONAL = (
    'peft',
    'transformers',
    'bitsandbytes',
    'deepspeed',
    'timm',
    'mmpose',
    'mmseg',
    'mmpretrain',
)


def test_importing_adds_no_optional_package_to_what_mmengine_imports():
    script = (
        'import sys, mmengine.runner; before = set(sys.modules); import mmadapt; '
        'print(*sorted(m for m in set(sys.modules) - before if "." not in m))'
    )
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', script], capture_output=True, text=True, check=True
    )
    added = done.stdout.split()
    assert 'mmadapt' in added
    assert not set(added) & set(OPTIONAL)
