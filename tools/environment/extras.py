"""What `mmadapt/extras.py` says, of the package that is not installed yet."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_PATH = Path(__file__).resolve().parents[2] / 'mmadapt' / 'extras.py'
_SPEC = importlib.util.spec_from_file_location('mmadapt_extras', _PATH)
assert _SPEC is not None
assert _SPEC.loader is not None
_MODULE = importlib.util.module_from_spec(_SPEC)
sys.modules[_SPEC.name] = _MODULE  # where dataclasses look for it
_SPEC.loader.exec_module(_MODULE)

pip_arguments, requirement_files = _MODULE.pip_arguments, _MODULE.requirement_files
MODULES = {
    **{name: extra.modules for name, extra in _MODULE.EXTRAS.items() if name != 'openmmlab'},
    # For those who change mmadapt; `make env` has what `openmmlab` brings anyway.
    'docs': ('sphinx', 'myst_parser'),
}
