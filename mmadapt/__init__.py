"""Parameter-efficient adaptation of OpenMMLab models."""

from .compat import check_environment, repair
from .version import __version__

check_environment()
repair()

from . import hooks, optim, runner, strategies, wrappers  # noqa: E402,F401  registers what is in them
from .config_files import base  # noqa: E402
from .errors import UserError  # noqa: E402
from .files import export_hf, load_adapter, save_adapter  # noqa: E402
from .peft import (  # noqa: E402
    active_adapter,
    adapter_names,
    inject,
    merge,
    remove,
    set_adapter,
    unmerge,
)

__all__ = [
    'Inferencer',  # noqa: F822  imported when it is asked for
    'UserError',
    '__version__',
    'active_adapter',
    'adapter_names',
    'base',
    'export_hf',
    'inject',
    'load_adapter',
    'merge',
    'remove',
    'save_adapter',
    'set_adapter',
    'unmerge',
]


def __getattr__(name: str):
    """Import what a training does not need when it is asked for."""
    if name == 'Inferencer':
        from .inference import Inferencer

        return Inferencer
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
