"""Parameter-efficient adaptation of OpenMMLab models."""

from .compat import check_environment, repair
from .version import __version__

check_environment()
repair()

from . import hooks, wrappers  # noqa: E402,F401  registers what is in them
from .errors import UserError  # noqa: E402
from .files import load_adapter, save_adapter  # noqa: E402
from .tuning import inject, merge, remove, unmerge  # noqa: E402

__all__ = [
    'UserError', '__version__', 'inject', 'load_adapter', 'merge', 'remove', 'save_adapter',
    'unmerge'
]
