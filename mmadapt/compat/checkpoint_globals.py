"""Which globals a checkpoint may name.

Since torch 2.6 ``torch.load`` refuses every global that is not allow-listed. MMEngine's checkpoints
hold its message hub, whose history buffers are numpy arrays, so that neither ``--resume`` nor an
official checkpoint loads. The remedy is to allow exactly those classes, which hold numbers and run
no code, and never to switch the check off.

A history buffer also pickles its statistics methods, as calls of ``getattr``. That one would give
the writer of a checkpoint far too much, so it is replaced by one that finds those methods only. An
empty array, as that of the lines of a pose without a skeleton, is pickled with a call of ``bytes``.
"""

import inspect
from pickle import UnpicklingError

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

# Arrays of these hold pointers, or structures that may: a file could make them point anywhere.
_UNSAFE = (np.dtypes.ObjectDType, np.dtypes.VoidDType)


def allow_checkpoint_globals() -> None:
    """Allow what MMEngine writes into checkpoints, under the names of numpy 1 and 2."""
    HistoryBuffer()  # the first one registers the statistics methods
    reconstruct = np.empty(0).__reduce__()[0]
    scalar = np.float64(0).__reduce__()[0]
    allowed = [HistoryBuffer, np.ndarray, np.dtype]
    # numpy 2 renamed numpy.core to numpy._core; checkpoints hold the name of their time.
    for module in ('numpy.core.multiarray', 'numpy._core.multiarray'):
        allowed += [(reconstruct, f'{module}._reconstruct'), (scalar, f'{module}.scalar')]
    allowed += [
        cls
        for _, cls in inspect.getmembers(np.dtypes, inspect.isclass)
        if issubclass(cls, np.dtype) and cls not in _UNSAFE
    ]
    for module in ('builtins', '__builtin__'):
        allowed += [(_statistics_method, f'{module}.getattr'), (_no_bytes, f'{module}.bytes')]
    torch.serialization.add_safe_globals(allowed)


def _no_bytes() -> bytes:
    return b''


def _statistics_method(owner, name: str):
    if owner is HistoryBuffer and name in HistoryBuffer._statistics_methods:
        return HistoryBuffer._statistics_methods[name]
    raise UnpicklingError(f'a checkpoint may not look up {name!r} of {owner!r}')
